"""Faults. `*_cases.py` hold bad inputs, for `test_bad_inputs.py`; each `test_*.py` is a promise."""
