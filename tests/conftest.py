"""Settings of the test tools themselves."""

from hypothesis import settings

# Examples are not timed: on a machine that others share, a slow one says nothing.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
