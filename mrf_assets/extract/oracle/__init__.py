"""The reader that is obviously right: the oracle of every faster one."""
