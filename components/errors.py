"""The errors that a person can act on: each says what was expected, what came and what to do."""


class AtelierError(Exception):
    """Anything that is the input's or the world's doing; shown as one line, never as a traceback."""

    exit_status = 1


class ParamsError(AtelierError):
    """params.yaml says something that it cannot say."""


class DataError(AtelierError):
    """Images or labels are not what they claim to be."""


class ValidationError(AtelierError):
    """The data set is readable, but not fit to train on."""


class NetworkError(AtelierError):
    """The list of layers does not make a network, or the network does not fit the data."""


class BundleError(AtelierError):
    """The model directory does not answer as its training recorded."""


class TransientError(AtelierError):
    """The world failed in a way that may pass: a download, a server. A retry may help."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h: drivers retry this one and no other
