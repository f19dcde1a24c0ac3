"""Help that is whole on every terminal: a summary that does not fit goes on below, it is not cut."""

import click

WHOLE = 1000
"""More letters than any summary has."""


class HelpGroup(click.Group):
    """A group that shows the summaries of its commands as they are."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, in their order."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, command.get_short_help_str(WHOLE)) for name, command in found if command is not None]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
