"""What goes wrong here, always with the place: workflow, job and step."""


class WorkflowError(Exception):
    """The workflow says something that GitHub would refuse, or that is not played here."""
