"""The context a step runs in, as entries of the execution queue carry it."""

from pydantic import BaseModel, ConfigDict


class ExecutionContext(BaseModel):
    """The user, session and safeguards of a run. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    user_id: str | None = None
    graph_id: str | None = None
    graph_exec_id: str | None = None
    graph_version: int | None = None
    node_id: str | None = None
    node_exec_id: str | None = None

    # A human approves the steps that ask for one.
    human_in_the_loop_safe_mode: bool = True
    # A human approves every action marked sensitive.
    sensitive_action_safe_mode: bool = False
    dry_run: bool = False
    user_timezone: str = "UTC"

    root_execution_id: str | None = None
    parent_execution_id: str | None = None
    workspace_id: str | None = None
    session_id: str | None = None
    organization_id: str | None = None
    team_id: str | None = None
