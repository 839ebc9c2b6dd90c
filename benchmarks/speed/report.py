"""speed.json as tables."""

from benchmarks.speed.growth import curves


def markdown(found: dict) -> str:
    machine = found["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        "# Speed",
        "",
        f"`make bench`, on {machine['cores']} cores of {machine['cpu']} ({', '.join(machine['vector_instructions'])}), "
        f"{machine['memory_gb']} GB; {packages}. Ratios are medians over turns, with their range. "
        "Every side runs with huge pages (`GLIBC_TUNABLES=glibc.malloc.hugetlb=1`).",
    ]
    for part, title in (("peers", "The same model elsewhere"), ("kuairand", "KuaiRand, end to end from Parquet")):
        lines += _comparison(title, found.get(part, {}))
    limit = {case: values for case, values in found.get("limit", {}).items() if "share" in values}
    if limit:
        lines += _table(
            "The step's matrix products alone, as a share of the step",
            ["workload", "share", "range", "GFLOP/s of the products"],
            [
                [case.partition(": ")[2], v["share"], _range(v["range"]), v["products_gflop_per_second"]]
                for case, v in limit.items()
            ],
        )
    for case, parts in found.get("limit", {}).items():
        if "share" not in parts:
            rows = [[part, v["adds_ms"], v["until_ms"]] for part, v in parts.items()]
            lines += _table(f"A step cut off after each part, {case.partition(': ')[2]}", ["part", "ms", "until"], rows)
    for kind, points in curves(found.get("growth", {})).items():
        rows = [[f"{size:,}", f"{v['examples_per_second']:,}", f"{v['peak_mb']:,}"] for size, v in points]
        lines += _table(f"As it grows: {kind}", [kind, "examples/s", "peak MB"], rows)
    lines += _comparison("From Parquet to batches, beside pyarrow's own read of the columns", found.get("input", {}))
    return "\n".join(lines) + "\n"


def _comparison(title: str, cases: dict) -> list[str]:
    rows = [
        [
            case,
            f"{v['ours_examples_per_second']:,}",
            f"{v['theirs_examples_per_second']:,}",
            v["ratio"],
            _range(v["range"]),
        ]
        for case, v in cases.items()
    ]
    return _table(title, ["case", "ours, examples/s", "theirs", "ratio", "range"], rows) if rows else []


def _table(title: str, head: list[str], rows: list[list]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["", f"## {title}", "", *("| " + " | ".join(map(str, row)) + " |" for row in cells)]


def _range(values: list[float]) -> str:
    return f"{values[0]} to {values[1]}"
