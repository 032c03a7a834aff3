"""Fill the README's tables and figure from the code and from recorded runs.

``python tools/readme.py`` writes the tables, ``--check`` fails where they are out of date, ``--record RUNS`` first
takes what a finished ``ftkit demo`` measured from its folder of runs into data/evidence/demo.json and docs/figures/.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ftkit.evaluation import METRICS, Score
from ftkit.experiments.record import load_record
from ftkit.experiments.run import file_size, percent
from ftkit.experiments.scoring import mean_test_score
from ftkit.methods import METHODS, as_method
from ftkit.paths import write_bytes, write_text
from ftkit.tasks import TASKS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
RECORD = ROOT / "data" / "evidence" / "demo.json"
FIGURES = ROOT / "docs" / "figures"
NOTEBOOKS = ROOT / "notebooks"
BENCH_PAGE = ROOT / "data" / "evidence" / "bench" / "README.md"


def record(runs: Path) -> None:
    """Write what a demo measured into the record and draw its figures; tasks that it left out stay as they are."""
    from ftkit.experiments.demo import load_comparisons
    from ftkit.figures import as_png

    before = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else []
    tasks = {task["task"]: task for task in before}
    FIGURES.mkdir(parents=True, exist_ok=True)
    comparisons = [each for each in load_comparisons(runs) if each.task_name in TASKS]  # nobody's own data
    if len({comparison.task_name for comparison in comparisons}) < len(comparisons):
        titles = ", ".join(comparison.title for comparison in comparisons)
        sys.exit(f"{runs} holds several comparisons of one task ({titles}). Name a folder with the demo's runs alone.")
    for comparison in comparisons:
        figure = comparison.plot()
        write_bytes(FIGURES / f"{comparison.task_name}.png", as_png(figure))
        tasks[comparison.task_name] = {
            "task": comparison.task_name,
            "title": comparison.title,
            "metric": comparison.metric,
            "figure_text": figure.ftkit_alt,
            "machine": asdict(comparison.runs[0].machine),
            "created": max(run.created for run in comparison.runs),
            "methods": [
                {
                    "method": name,
                    "scores": {metric: asdict(comparison.score(name, metric)) for metric in runs[0].scores},
                    "seeds": len(runs),
                    "settings": runs[0].spec.settings,
                    "learning_rate": runs[0].spec.learning_rate,
                    "epochs": runs[0].spec.epochs,
                    "train_examples": runs[0].spec.train_examples,
                    "cost": asdict(runs[0].cost),
                }
                for name, runs in comparison.by_method().items()
            ],
            "baselines": [asdict(baseline) for baseline in comparison.baselines],
        }
    write_text(RECORD, json.dumps(list(tasks.values()), indent=1) + "\n")


def readme() -> str:
    """Return the README with its generated parts filled in."""
    tasks = json.loads(RECORD.read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    for name, content in (
        ("figure", figure(tasks)),
        ("methods", methods_table()),
        ("results", "\n\n".join(results(task) for task in tasks)),
        ("speed", speed()),
        ("lessons", lessons()),
    ):
        text = re.sub(
            rf"(<!-- {name} -->\n).*(<!-- /{name} -->)",
            lambda match, content=content: f"{match[1]}{content}\n{match[2]}",
            text,
            flags=re.DOTALL,
        )
    return text


def figure(tasks: list[dict[str, Any]]) -> str:
    """Show the score figure of the first task."""
    first = tasks[0]
    return f"![{first['figure_text']}](docs/figures/{first['task']}.png)"


def speed() -> str:
    """Quote the main table of the benchmarks' page, or say that there is none."""
    if not BENCH_PAGE.is_file():
        return "No benchmark has been recorded: `make bench` makes one."
    page = BENCH_PAGE.read_text(encoding="utf-8")
    found = re.search(r"<!-- targets -->\n(.*)\n<!-- /targets -->", page, flags=re.DOTALL)
    if found is None:
        sys.exit(f"{BENCH_PAGE} has no table of targets: run `python tests/bench/run.py page`.")
    return found[1]


def lessons() -> str:
    """One row a lesson: what its first cell says of prerequisites and minutes."""
    rows = ["| lesson | needs | minutes |", "|---|---|---|"]
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        title, needs, minutes = (_line(first, start) for start in ("# ", "| **Prerequisites** | ", "| **Minutes** | "))
        from_here = re.sub(r"\]\((\w+\.ipynb)\)", rf"]({NOTEBOOKS.name}/\1)", needs)
        rows.append(f"| [{title}]({NOTEBOOKS.name}/{path.name}) | {from_here} | {minutes} |")
    return "\n".join(rows)


def _line(text: str, start: str) -> str:
    """What follows on the line of a text that starts so."""
    found = next(line for line in text.splitlines() if line.startswith(start))
    return found.removeprefix(start).removesuffix(" |")


def methods_table() -> str:
    """One row a method: what trains in each modality, and the paper."""
    rows = ["| name | method | what trains | text | images | speech | source |", "|---|---|---|---|---|---|---|"]
    rows += [
        f"| `{method.name}` | {method.title} | {method.trains} | "
        + " | ".join(method.changes[modality] for modality in ("text", "image", "audio"))
        + f" | {method.paper} |"
        for method in METHODS.values()
    ]
    return "\n".join(rows)


def results(task: dict[str, Any]) -> str:
    """One table a task: scores with intervals and cost, baselines below."""
    metrics = list(task["methods"][0]["scores"])
    titles = [METRICS[metric].title for metric in metrics]
    machine, first = task["machine"], task["methods"][0]
    rows = [
        f"**{task['title']}** ({first['train_examples']:,} training examples, {first['epochs']} epochs, "
        f"{first['scores'][metrics[0]]['n']:,} test items, {_seeds(first['seeds'])})",
        "",
        f"| | {' | '.join(titles)} | trained | training | file |",
        "|---|" + "---|" * len(titles) + "--:|--:|--:|",
    ]
    for row in task["methods"]:
        cost = row["cost"]
        rows.append(
            f"| {as_method(row['method'], **row['settings']).described} | {_scores(row['scores'])} | "
            f"{percent(cost['trainable'] / cost['total'])} | "
            f"{cost['seconds']:.0f} s | {file_size(cost['saved_bytes'])} |"
        )
    rows += [f"| *{line['title']}* | {_scores(line['scores'])} | | | |" for line in task["baselines"]]
    rows += [
        "",
        f"Measured on {machine['processor']}, {machine['threads']} threads, torch {machine['versions']['torch']}.",
        *_with_usual_number(task["task"], first["train_examples"]),
    ]
    return "\n".join(rows)


def _with_usual_number(task: str, examples: int) -> list[str]:
    """What methods score with the task's usual number of examples, by the records, where the demo takes fewer."""
    usual = TASKS[task].default_train
    if examples >= usual:
        return []
    record = load_record("data-size")
    by_method = {
        method: record.where(task=task, method=method, examples=usual)
        for method in dict.fromkeys(each.condition.method for each in record.outcomes)
    }
    epochs, seeds = (
        "/".join(map(str, sorted(numbers)))
        for numbers in (
            {each.condition.epochs for outcomes in by_method.values() for each in outcomes},
            {len(outcomes) for outcomes in by_method.values()},
        )
    )
    told = ", ".join(
        f"{METHODS[method].title} {mean_test_score(record, outcomes)}" for method, outcomes in by_method.items()
    )
    return [
        "",
        f"The demo takes {examples:,} of the usual {usual:,} training examples, so that it ends within minutes. With "
        f"all of them, {epochs} epochs and {seeds} seeds, the experiment `data-size` recorded: {told}.",
    ]


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds, cost of the first"


def _scores(scores: dict[str, Any]) -> str:
    return " | ".join(str(Score(**score)) for score in scores.values())


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where the README is out of date")
    parser.add_argument("--record", type=Path, metavar="RUNS", help="take the figures of a finished demo first")
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record)
    if arguments.check:
        if README.read_text(encoding="utf-8") != readme():
            sys.exit("README.md is out of date: run `make readme`.")
    else:
        write_text(README, readme())


if __name__ == "__main__":
    main()
