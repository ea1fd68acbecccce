"""Shell blocks of a document are run and compared with the output that it shows."""

from pathlib import Path

import pytest
from devtools.doc_checks import Example, examples, run, stands_for
from shop_e2e.cluster.kubectl import eventually

DOCUMENT = """
```sh
echo one
```

```text
one
```

```sh fails
cat nowhere
```

Nothing is shown of this one:

```sh
two=2
```

```yaml
not: shell
```
"""


def example(script: str, *, fails: bool = False) -> Example:
    return Example(script, fails, shown="")


def test_a_shell_block_has_the_output_block_that_follows_it(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text(DOCUMENT.replace("```yaml", "and\n\n```yaml"))

    assert examples(document) == [
        Example("echo one\n", fails=False, shown="one\n"),
        Example("cat nowhere\n", fails=True, shown=""),
        Example("two=2\n", fails=False, shown=""),
    ]


@pytest.mark.parametrize("mark", ["sh fail", "shell", "sh  fails"])
def test_a_shell_block_with_a_syntax_error_is_reported(tmp_path: Path, mark: str) -> None:
    document = tmp_path / "document.md"
    document.write_text(DOCUMENT.replace("sh fails", mark))

    with pytest.raises(AssertionError, match="not marked"):
        examples(document)


async def test_all_blocks_share_one_session() -> None:
    printed = await run([example("NAME=ada\n"), example("echo $NAME\n"), example("cat nowhere\n", fails=True)])

    assert printed == ["", "ada\n", "cat: nowhere: No such file or directory\n"]


@pytest.mark.parametrize(
    "broken",
    [example("false\n"), example("echo $NOBODY_KNOWS\n"), example("false | true\n"), example("true\n", fails=True)],
)
async def test_a_block_with_an_unexpected_exit_status_is_named(broken: Example) -> None:
    with pytest.raises(AssertionError, match="ends with status") as failure:
        await run([example("true\n"), broken, example("true\n")])

    assert str(failure.value).startswith(broken.script)


async def test_blocks_that_time_out_are_ended_with_their_child_processes() -> None:
    with pytest.raises(AssertionError, match="takes too long"):
        await run([example("sleep 1000 & echo $!\n"), example("sleep 1000\n")], within=0.5)


async def test_background_processes_end_with_the_last_block(tmp_path: Path) -> None:
    waits, ended = tmp_path / "waits", tmp_path / "ended"

    await run(
        [
            example(f"(trap 'touch {ended}; exit' TERM; touch {waits}; while true; do sleep 0.1; done) &\n"),
            example(f"until test -e {waits}; do sleep 0.01; done\n"),
        ]
    )

    eventually(ended.exists, 5, "the process was told to end")


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("", ""),
        ("one\n", "one\n"),
        ("NAME   AGE\nshop   …\n", "NAME     AGE\nshop     143m   \n"),
        ("version 0.1.0-… of …\n", "version 0.1.0-9703ab7bf715 of 22 Nov\n"),
        ("one\n…\nfour\n", "one\ntwo\nthree\nfour\n"),
        ("one\n…\nfour\n", "one\nfour\n"),
        ("…\n", ""),
    ],
)
def test_a_document_may_elide_what_differs_each_time(shown: str, printed: str) -> None:
    assert stands_for(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("", "error: no such thing\n"),
        ("one\n", ""),
        ("one\n", "one two\n"),
        ("one two\n", "onetwo\n"),
        ("one\nthree\n", "one\ntwo\nthree\n"),
        ("one\n…\nfour\n", "one\ntwo\n"),
        ("one …\n", "one\ntwo\n"),
        ("a.c\n", "abc\n"),
    ],
)
def test_other_differences_are_refused(shown: str, printed: str) -> None:
    assert not stands_for(shown, printed)
