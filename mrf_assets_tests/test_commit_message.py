"""The hook for commit messages accepts what CONTRIBUTING asks for, and names what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parent.parent / "scripts" / "check_commit_message.py"
_WHY = "\n\nReaders look for it here."


def _checked(message: str, folder: Path) -> tuple[int, str]:
    file = folder / "COMMIT_EDITMSG"
    file.write_text(message)
    done = subprocess.run([sys.executable, _SCRIPT, file], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "message",
    [
        f"Add a check{_WHY}",
        f"{'A' * 72}{_WHY}",
        f"# a template\nAdd a check{_WHY}\n# Please enter the commit message\n",
        f"Add a check{_WHY}\n# ------------------------ >8 ------------------------\ndiff --git a/x b/x\n",
        "Merge branch 'main'",
        'Revert "Add a check"',
        "fixup! Add a check",
    ],
)
def test_a_good_message_passes(message: str, tmp_path: Path) -> None:
    """So do those that Git makes itself."""
    assert (0, "") == _checked(message, tmp_path)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (f"{'A' * 73}{_WHY}", "the subject has 73 characters; use at most 72"),
        (f"add a check{_WHY}", "the subject must begin with a capital letter: an imperative, such as Add"),
        (f"Add a check.{_WHY}", "the subject must not end with a full stop"),
        ("Add a check\nReaders look for it here.", "an empty line must follow the subject"),
        ("Add a check", "the body is missing; say why the change is made"),
        ("Add a check\n\n# Please enter the commit message\n", "the body is missing; say why the change is made"),
    ],
)
def test_what_is_wrong_is_one_line(message: str, problem: str, tmp_path: Path) -> None:
    """With the exit code 1, so that Git makes no commit."""
    assert (1, f"{problem}\n") == _checked(message, tmp_path)
