# How the book is made: notebooks run by papermill, then rendered by Jupyter Book. `make book` calls it, and `make sweep`
# for many runs of some notebooks. On a cluster: make book CLUSTER=slurm PROFILE=paper
import shlex
import sys
from pathlib import Path

PROFILE = config.get("profile", "tiny")
# Without a value snakemake makes it None, for which shlex would wait to read from the terminal.
PARAMETERS = config.get("parameters") or ""
NOTEBOOKS = sorted(path.stem for path in Path("notebooks").glob("*.ipynb"))
EXECUTED = expand("build/executed/{profile}/{notebook}.ipynb", profile=PROFILE, notebook=NOTEBOOKS)
RUNNER = ["book/tools/run_notebook.py", "book/tools/gpus.py"]
RUN_NOTEBOOK = "OMP_NUM_THREADS={threads} {sys.executable:q} {input.runner[0]} {input.notebook} {output} {params.options}"
# Where no notebook is to be run, as by `make render`, the executed ones that are there are taken, wherever they were run.
RUN = config.get("run") != "no"

# What every notebook works with. Training is not part of it: its results, the checkpoints, are.
LIBRARY = sorted(
    str(path)
    for path in Path("lib/seelike").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts and path.name != "train.py"
)
PAGES = ["_config.yml", "_toc.yml", "CONTRIBUTING.md"] + sorted(
    str(path)
    for path in Path("book").rglob("*")
    if path.is_file() and not {"__pycache__", "tools"} & set(path.parts)
)
PAGES += sorted(str(path) for path in Path("benchmarks/results").iterdir() if path.suffix in (".md", ".png"))


def options():
    """The command-line options that set the notebooks' parameters."""
    pairs = [("profile", PROFILE), *(pair.split("=", 1) for pair in shlex.split(PARAMETERS))]
    for pair in pairs:
        if len(pair) != 2:
            raise WorkflowError(f"PARAMETERS needs NAME=VALUE, separated by spaces; got {pair[0]!r}.")
    return " ".join(f"-p {shlex.quote(name)} {shlex.quote(value)}" for name, value in pairs)


def pages_before(wildcards):
    """The discussion looks back at all other pages; these look at none."""
    return [path for path in EXECUTED if "09_discussion" not in path] if wildcards.notebook == "09_discussion" else []


localrules: all, assets, stage, render, pack


rule all:
    input: "build/html/index.html"


if RUN:

    rule notebook:
        input:
            notebook="notebooks/{notebook}.ipynb",
            runner=RUNNER,
            lock="requirements.lock",
            library=LIBRARY,
            before=pages_before,
        output: "build/executed/" + PROFILE + "/{notebook}.ipynb"
        params: options=options()
        # All cores when there are more of them than notebooks.
        threads: max(1, (workflow.cores or 1) // max(1, len(NOTEBOOKS)))
        resources: gpu=0 if PROFILE == "tiny" else 1
        shell: RUN_NOTEBOOK

elif "sweep" not in config and (missing := [path for path in EXECUTED if not Path(path).exists()]):
    raise WorkflowError(
        f"Of {len(EXECUTED)} executed notebooks these are not there: {', '.join(missing)}. Run them "
        f"(make book PROFILE={PROFILE}), or bring them from where they were run (make unpack PACK=executed-{PROFILE}.tar.gz)."
    )


rule pack:
    input:
        executed=EXECUTED,
        script="book/tools/pack.py",
    output: f"build/executed-{PROFILE}.tar.gz"
    shell: "{sys.executable:q} {input.script} pack {output} {input.executed}"


rule assets:
    input: "package.json", "package-lock.json", "book/tools/widgets.js", "book/tools/scoreboard.js", script="book/tools/assets.py"
    output: directory("build/assets")
    shell: "{sys.executable:q} {input.script}"


rule stage:
    input:
        PAGES,
        executed=EXECUTED,
        script="book/tools/stage.py",
        parts=[f"book/tools/{name}.py" for name in ("citations", "photographs", "scoreboard")],
        photographs=[path for path in LIBRARY if "/photographs" in path],
    output: "build/book/_toc.yml"
    shell: "{sys.executable:q} {input.script} {input.executed}"


rule render:
    input:
        "build/book/_toc.yml",
        "build/assets",
        executed=EXECUTED,
        # Its docstrings are the reference.
        library=LIBRARY,
        script="book/tools/render.py",
        extension="book/tools/sphinx_extension.py",
    output: "build/html/index.html"
    shell: "{sys.executable:q} {input.script} {input.executed}"


# A sweep: notebooks x models x seeds, as a file such as sweep.yaml lists them.
if "sweep" in config:
    sys.path.insert(0, str(Path(workflow.basedir, "book/tools")))
    from sweep import read

    SWEEP = read(Path(config["sweep"]))
    SWEEP_JOBS = [str(job.output) for job in SWEEP.jobs]

    localrules: sweep, gather

    rule sweep:
        input: SWEEP.folder / "claims.csv", SWEEP.folder / "comparison.html"

    if RUN:

        rule sweep_notebook:
            input:
                notebook="notebooks/{notebook}.ipynb",
                runner=RUNNER,
                lock="requirements.lock",
                library=LIBRARY,
            output: str(SWEEP.folder / "{notebook}/{label}/seed_{seed}.ipynb")
            params: options=lambda wildcards: SWEEP.options(wildcards.label, int(wildcards.seed))
            threads: max(1, (workflow.cores or 1) // len(SWEEP_JOBS))
            resources: gpu=0 if SWEEP.profile == "tiny" else 1
            shell: RUN_NOTEBOOK

    rule gather:
        input:
            config["sweep"],
            SWEEP_JOBS,
            script="book/tools/gather_sweep.py",
            parts=["book/tools/comparison.html", "book/tools/sweep.py", "book/tools/scoreboard.py", "book/tools/stage.py"],
        output: SWEEP.folder / "claims.csv", SWEEP.folder / "comparison.html"
        shell: "{sys.executable:q} {input.script} {input[0]:q}"
