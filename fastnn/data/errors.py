"""What is raised when a data set cannot be had."""


class DatasetError(ValueError):
    """A file is damaged, or does not hold the data that it should."""


class DatasetNotFoundError(DatasetError):
    """A data set is neither on this machine nor could it be downloaded."""
