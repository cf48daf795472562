"""The flows behind ``make run`` and ``make demo``: the whole main job on this machine."""
