"""The parts of ``bench/gpu.py``: what is measured, by lanflow's training and by bare loops."""
