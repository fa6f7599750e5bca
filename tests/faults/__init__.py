"""Bad inputs: one case each, in the form that `test_bad_inputs.py` tries on the real commands."""
