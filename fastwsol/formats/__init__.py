"""Labelled images as files that other tools read: one module a format, each taking images one at a time."""
