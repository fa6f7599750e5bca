"""Faults. `*_cases.py` hold bad inputs, for `test_bad_inputs.py`; each `test_*.py` here is a promise of what is not lost."""
