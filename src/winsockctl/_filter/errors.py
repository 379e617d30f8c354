"""What is raised when an expression cannot be understood."""


class FilterSyntaxError(ValueError):
    """A filter expression that cannot be compiled; the message points at the place.

    Attributes:
        expression: the whole expression, as given.
        position: offset of the place in ``expression``, in characters from 0.
        reason: what is wrong there and what was expected.
    """

    def __init__(self, expression: str, position: int, reason: str) -> None:
        super().__init__(expression, position, reason)
        self.expression = expression
        self.position = position
        self.reason = reason

    def __str__(self) -> str:
        line_start = self.expression.rfind("\n", 0, self.position) + 1
        line_end = self.expression.find("\n", self.position)
        line = self.expression[line_start : line_end if line_end >= 0 else None]
        column = self.position - line_start
        # A line that the terminal wraps would part the caret from its place.
        cut = max(0, column - 50)
        shown = "".join(c if c.isprintable() else " " for c in line[cut : cut + 70])
        before = "..." if cut else ""
        after = "..." if cut + 70 < len(line) else ""
        caret = " " * (len(before) + column - cut) + "^"
        return f"{self.reason}\n  {before}{shown}{after}\n  {caret}"
