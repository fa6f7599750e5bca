"""What the files of bench/results say, as the rows of the tables that pages have of them.

Each function gives the rows of one table: the first cell of each, and its numbers as they stand in the files.
"""
