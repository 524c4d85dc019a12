"""A long log, for tests of how it is read."""

from __future__ import annotations

from interp_tui_engine.runfolder import RunFolder

STAMP = '{"v":1,"seq":%d,"t":1790000000.5,"type":"%s","shard":0,"shard_seq":%d,'
PROGRESS = STAMP + '"done":%d,"total":30000,"unit":"steps","eta_seconds":3.0}'
CHAINS = (
    STAMP + '"series":"chains","step":%d,"values":{"chains":[0,1,2,3],"step":[%d,%d,%d,%d],"steps_total":30000,"draws":[%d,%d,%d,%d],'
    '"draws_total":30000,"burnin":0,"loss":[3.312345,3.312345,3.312345,3.312345],"llc":[38.123456,38.123456,38.123456,38.123456],'
    '"grad":[0.812345,0.812345,0.812345,0.812345],"distance":[0.1421,0.1421,0.1421,0.1421],'
    '"trace":[[[%d,3.31%03d]],[[%d,3.32%03d]],[[%d,3.33%03d]],[[%d,3.34%03d]]]}}'
)
ESTIMATE = STAMP + '"series":"estimate","step":%d,"values":{"llc_mean":38.2,"llc_std_error":0.4,"rhat":1.01,"ess":300.0,"init_loss":3.19}}'
HEADLINE = STAMP + '"series":"headline","step":%d,"values":{"llc_mean":38.2,"rhat":1.01}}'


def write_long(folder: RunFolder, events: int) -> None:
    """A log of the mix that a worker writes: chains and progress twice as often as estimates and headlines."""
    lines: list[str] = []
    draw = 0
    while len(lines) < events:
        lines.append(PROGRESS % (len(lines), "progress", len(lines), draw))
        points = [n for chain in range(4) for n in (draw, draw * (chain + 3) % 997)]
        lines.append(CHAINS % (len(lines), "metrics", len(lines), *[draw] * 9, *points))
        if draw % 2:
            lines += [text % (len(lines), "metrics", len(lines), draw) for text in (ESTIMATE, HEADLINE)]
        draw += 1
    folder.events_path.write_text("".join(line + "\n" for line in lines))
