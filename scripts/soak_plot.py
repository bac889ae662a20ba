"""Plots the measurements of tests/soak: soak_plot.py CSV SVG."""

import csv
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

source, target = sys.argv[1:]
with open(source, newline="", encoding="utf-8") as file:
    rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
minutes = [row["seconds"] / 60 for row in rows]
rates = [0.0] + [
    (now["answers"] - before["answers"]) / (now["seconds"] - before["seconds"])
    for before, now in zip(rows, rows[1:])
]
unavailable_rates = [0.0] + [
    (now["unavailable"] - before["unavailable"]) / (now["seconds"] - before["seconds"])
    for before, now in zip(rows, rows[1:])
]

plt.rcParams["svg.hashsalt"] = "soak"
figure, axes = plt.subplots(4, 1, sharex=True, figsize=(8, 9), layout="constrained")


def draw(axis, title, curves):
    for name, values in curves:
        axis.plot(minutes, values, label=name, linewidth=1.2)
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_ylim(bottom=0)
    axis.legend(loc="lower right", fontsize=8)
    axis.grid(alpha=0.3)


def column(name, unit=1.0):
    return [row[name] / unit for row in rows]


draw(
    axes[0],
    "resident memory, MiB",
    [
        ("replica 1", column("resident_1", 1024)),
        ("replica 2", column("resident_2", 1024)),
        ("Redis (used_memory)", column("redis", 1024)),
    ],
)
draw(axes[1], "open files", [("replica 1", column("files_1")), ("replica 2", column("files_2"))])
draw(
    axes[2],
    "entries in memory",
    [
        ("near cache entries, both replicas", column("near_cache")),
        ("touches not written yet", column("pending")),
    ],
)
draw(axes[3], "answers per second", [("all", rates), ("503 because Redis fails", unavailable_rates)])
axes[-1].set_xlabel("minutes")
figure.savefig(target, metadata={"Date": None})
