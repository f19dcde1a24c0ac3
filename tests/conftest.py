"""What all tests share."""

from hypothesis import settings

settings.register_profile(
    "fresh",
    deadline=None,  # a busy machine is slow, not wrong
    derandomize=False,  # other examples at every run, also where CI is set
    print_blob=True,
)
