#!/usr/bin/env bash
# `sbatch --signal=USR1@120` asks a training to save two minutes before its time ends, and trainers
# handle USR1. torchrun between them does not: the signal reaches it as the process that srun started,
# it dies at once and passes nothing on. Its ranks never hear of it, have no parent any more and go on
# until SLURM kills them without a checkpoint. One would expect what starts the ranks to hand signals
# on, as it does with TERM. With --signals-to-handle=SIGUSR1 it does, and takes it for the end: whoever
# has not left 30 seconds later is killed.
#
# torch 2.11.0, one rank, which handles USR1. Seen:
#   torchrun: ended by USR1
#   rank: still runs, heard of USR1: False
#   rank, sent USR1 itself: heard of USR1: True
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "$(cat "$folder/rank" 2>/dev/null)" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.11.0 numpy
cd "$folder"
cat >train.py <<'PYTHON'
import os
import signal
import time

signal.signal(signal.SIGUSR1, lambda *_: open("saved", "w").close())
with open("rank.part", "w") as file:
    file.write(str(os.getpid()))
os.replace("rank.part", "rank")
for _ in range(1200):
    time.sleep(0.1)
PYTHON
has_come() { # has_come FILE: within a minute
    for _ in $(seq 600); do
        [ -e "$1" ] && return
        sleep 0.1
    done
    return 1
}
heard() { if has_come saved; then echo True; else echo False; fi; }

venv/bin/python -m torch.distributed.run --standalone --nproc-per-node 1 train.py 2>log &
torchrun=$!
has_come rank
kill -USR1 "$torchrun"
code=0
wait "$torchrun" 2>/dev/null || code=$?
sleep 5
seen="torchrun: ended by $(kill -l "$code")
rank: $(kill -0 "$(cat rank)" 2>/dev/null && echo "still runs" || echo "has ended"), heard of USR1: $(
    [ -e saved ] && echo True || echo False)"
kill -USR1 "$(cat rank)"
seen="$seen
rank, sent USR1 itself: heard of USR1: $(heard)"
echo "$seen"
[ "$seen" = "torchrun: ended by USR1
rank: still runs, heard of USR1: False
rank, sent USR1 itself: heard of USR1: True" ]
