"""The package on a real kernel: a virtual machine with systemd, udev, ALSA and USB, judged from outside.

``python -m vm`` (``make test-vm``) builds an image from the distribution's packages and the project's own .deb,
boots it with QEMU, and runs the parts that it is asked for. What is true comes from outside the machine: the sound
of its USB microphones is a code of this host's time, the power is cut here, and the recordings API is here.
"""
