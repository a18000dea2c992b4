"""Runs a network in HSSM, in an interpreter that has it."""
