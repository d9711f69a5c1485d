"""Pages of runs: numbered ones, and ones that continue from a cursor."""

from typing import Self

from pydantic import BaseModel

from execstream.storage.models.graph_execution import GraphExecutionMeta


class Pagination(BaseModel):
    """The position of a numbered page among all; the first page is 1."""

    total_items: int
    total_pages: int
    current_page: int
    page_size: int

    @classmethod
    def empty(cls) -> Self:
        """No items, no pages."""
        return cls(total_items=0, total_pages=0, current_page=0, page_size=0)


class GraphExecutionsPaginated(BaseModel):
    """A numbered page of runs."""

    executions: list[GraphExecutionMeta]
    pagination: Pagination


class GraphExecutionsPage(BaseModel):
    """A page of runs and the cursor of the next one, None on the last."""

    data: list[GraphExecutionMeta]
    next_cursor: str | None = None
