"""Check the message of a commit: a subject that is an order, an empty line, and a body that says why.

Git runs it as the hook commit-msg: `check_commit_message.py FILE`.
"""  # noqa: INP001 - a script

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

MAX_SUBJECT_CHARACTERS = 72
_BY_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")
_SCISSORS = "# ------------------------ >8 ------------------------"


def problems(message: str) -> Iterator[str]:
    """What is wrong with a message, each as one line."""
    lines = [line for line in message.partition(_SCISSORS)[0].splitlines() if not line.startswith("#")]
    subject, *rest = "\n".join(lines).strip().split("\n")
    if subject.startswith(_BY_GIT):
        return
    if len(subject) > MAX_SUBJECT_CHARACTERS:
        yield f"the subject has {len(subject)} characters; use at most {MAX_SUBJECT_CHARACTERS}"
    if not subject[:1].isupper():
        yield "the subject must begin with a capital letter: an imperative, such as Add"
    if subject.endswith("."):
        yield "the subject must not end with a full stop"
    if rest and rest[0].strip():
        yield "an empty line must follow the subject"
    if not "".join(rest).strip():
        yield "the body is missing; say why the change is made"


def main() -> int:
    """Print the problems of the message in a file; the exit code is 1 where there are some."""
    found = list(problems(Path(sys.argv[1]).read_text()))
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
