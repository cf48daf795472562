"""The contract every connector keeps: a scripted partner springs the known traps of reading on it.

Source of the traps: the domain page "NPO integration", section 3.
"""
