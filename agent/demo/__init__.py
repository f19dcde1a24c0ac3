"""The parts of ``recorder-agent demo``: its processes, its sound, its screen."""
