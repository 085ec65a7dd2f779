"""Errors of the functions that load data sets."""


class DatasetError(ValueError):
    """A file is damaged, or does not have the expected data."""


class DatasetNotFoundError(DatasetError):
    """A data set is not on this machine and could not be downloaded."""
