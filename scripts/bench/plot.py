"""Formats the results as a table and as a plot."""

COLOURS = {
    "bare": "#8a8f98",
    "bare, mimalloc": "#b4b8be",
    "not asking": "#8a8f98",
    "memory": "#2f6db5",
    "near cache": "#3d9970",
    "redis": "#d9822b",
}
TITLES = {
    "http": "over HTTP, CPU seconds per million checks",
    "grpc": "over gRPC, CPU seconds per million checks",
    "http_half": "over HTTP at half of the peak, p99 in microseconds",
}
BASELINES = {"http": "bare", "http_half": "bare", "grpc": "bare", "spoe": "not asking"}
HEADINGS = {
    "http": "Over HTTP, at the maximum rate",
    "http_half": "Over HTTP, at half of that rate",
    "grpc": "Over gRPC, at the maximum rate",
    "spoe": "Through HAProxy and SPOE, at the maximum rate",
}


def table(results):
    """Returns the results as Markdown."""
    lines = []
    for kind, heading in HEADINGS.items():
        found, first = results[kind], results[kind][BASELINES[kind]]
        lines += [
            f"### {heading}",
            "",
            "| | requests/s | ÷ | CPU s per million | ÷ | of Redis | p50 µs | p99 µs | p99.9 µs | memory MiB |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for name, one in found.items():
            cells = [
                name,
                f"{one['rps']:,.0f}",
                f"{one['rps'] / first['rps']:.2f}",
                f"{one['cpu_per_million']:.2f}",
                f"{one['cpu_per_million'] / first['cpu_per_million']:.2f}",
                f"{one['redis_cpu_per_million']:.2f}" if "redis_cpu_per_million" in one else "",
                *(f"{one[key]:,.0f}" for key in ("p50_us", "p99_us", "p999_us")),
                f"{one['peak_memory'] / 2**20:.0f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    cold, redis = results["http"]["redis"], results["redis"]
    lines += [
        "### Redis alone, measured with `redis-benchmark`",
        "",
        "| | requests/s | CPU s of Redis per million | Curfew without near cache ÷ this: requests/s | CPU of Redis |",
        "|---|---|---|---|---|",
    ]
    for name, one in redis.items():
        cells = [
            name.replace("_", ", "),
            f"{one['rps']:,.0f}",
            f"{one['redis_cpu_per_million']:.2f}",
            f"{cold['rps'] / one['rps']:.2f}",
            f"{cold['redis_cpu_per_million'] / one['redis_cpu_per_million']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def svg(results):
    """Returns a bar chart as SVG, with a group of bars for each entry of `TITLES`."""
    width, bar, label = 720, 22, 110
    rows, height = [], 14
    for kind, title in TITLES.items():
        values = {
            name: one["p99_us" if kind == "http_half" else "cpu_per_million"]
            for name, one in results[kind].items()
        }
        scale = (width - label - 90) / max(values.values())
        height += 22
        rows.append(f'<text x="8" y="{height}" font-weight="bold">{title}</text>')
        height += 8
        for name, value in values.items():
            colour = COLOURS.get(name, "#777777")
            length = value * scale
            rows.append(f'<text x="{label - 8}" y="{height + 15}" text-anchor="end">{name}</text>')
            rows.append(
                f'<rect x="{label}" y="{height}" width="{length:.0f}" height="{bar - 5}" fill="{colour}"/>'
            )
            rows.append(f'<text x="{label + length + 6:.0f}" y="{height + 14}">{value:,.1f}</text>')
            height += bar
        height += 6
    height += 10
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">'
    )
    background = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, background, *rows, "</svg>"]) + "\n"
