"""The commands: lanflow, jaxtrain and torchtrain."""
