#!/usr/bin/env bash
# What a committed entry costs: three nodes in one thread, 64-byte payloads, everyone has applied it. Ours in memory, ours through
# records and reports as with a disk, the same with each record encoded, and the registry's raft 0.7 (protobuf codec, in-memory
# storage, nothing encoded, the same load), all in one run.
# Instructions and allocations are valgrind's counts, so they do not depend on the machine's load: two runs of different length, the
# difference divided by the entries between them; the last column depends on the machine. Needs valgrind and python3.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --release -p wrs-raft --example raft_count
cargo build --quiet --release --locked --manifest-path benches/peers/raft07/Cargo.toml
target=$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
peer=$(cargo metadata --no-deps --format-version 1 --manifest-path benches/peers/raft07/Cargo.toml |
  python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')

instructions() { valgrind --tool=lackey --basic-counts=yes "$@" 2>&1 | sed -n 's/.*guest instrs: *\([0-9,]*\).*/\1/p' | tr -d ,; }
allocations() { valgrind --tool=memcheck "$@" 2>&1 | sed -n 's/.*total heap usage: \([0-9,]*\) allocs.*/\1/p' | tr -d ,; }

# Entries per CPU second: the processor time of a longer run less that of a shorter one, the best of five.
rate() {
  python3 - "$@" <<'PYTHON'
import resource, subprocess, sys
program, size, batches, rest = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
def seconds(count):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([program, str(size), str(count), *rest], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
best = min(max(seconds(batches * 3) - seconds(batches), 1e-9) for _ in range(5))
print(round(size * batches * 2 / best))
PYTHON
}

printf '%-24s %6s %14s %12s %16s\n' machine batch instr/entry allocs/entry entries/cpu-s
for size in 1 16 256; do
  batches=$((4096 / size < 64 ? 64 : 4096 / size))
  entries=$((size * batches * 2))
  row() {
    local name=$1 program=$2 rest=${3:-}
    local i1 i3 a1 a3
    i1=$(instructions "$program" $size $batches $rest)
    i3=$(instructions "$program" $size $((batches * 3)) $rest)
    a1=$(allocations "$program" $size $batches $rest)
    a3=$(allocations "$program" $size $((batches * 3)) $rest)
    speed=$(rate "$program" $size $((400000 / size)) $rest)
    python3 -c "print('%-24s %6d %14.0f %12.3f %16d' % ('$name', $size, ($i3 - $i1) / $entries, ($a3 - $a1) / $entries, $speed))"
  }
  row 'wrs-raft, in memory' "$target/release/examples/raft_count"
  row 'wrs-raft, records' "$target/release/examples/raft_count" kept
  row 'wrs-raft, bytes' "$target/release/examples/raft_count" bytes
  row 'raft 0.7' "$peer/release/raft07-count"
done
