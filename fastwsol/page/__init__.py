"""One HTML file to look at runs with: which runs, their tables, figures and gallery; its template, style and script."""
