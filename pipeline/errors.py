"""Errors a user can mend. The message says what is wrong, where, and what to do; launchers print it as one line."""


class PipelineError(Exception):
    """Base of every error that is the user's to mend: shown as one line, without a traceback, exit code 1."""


class ConfigError(PipelineError):
    """A recipe, option or setting that cannot work; raised before any model loads."""


class DataError(PipelineError):
    """An input file that is missing or unusable as a whole (a single bad row is a counted reject instead)."""


class NothingToMeasureError(DataError):
    """Sound data that has nothing of the kind that an evaluation measures: a caller may leave the evaluation out, and say so."""


class CheckpointError(PipelineError):
    """A checkpoint or model folder that is truncated, foreign or does not fit the recipe."""


class StoppedError(PipelineError):
    """A run that a signal stopped after it had written a checkpoint: exit code 75, so that a scheduler starts it again."""


class ServiceError(PipelineError):
    """A chat endpoint that does not answer, or answers with something other than the protocol."""


class RefusedError(ServiceError):
    """A request that a chat endpoint refuses for what is in it: asking again changes nothing, other requests may pass."""


class EndpointSetupError(ServiceError):
    """An address, key or model name that a chat endpoint does not take: no request will pass until it is mended."""
