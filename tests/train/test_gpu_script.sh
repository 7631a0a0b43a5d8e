#!/bin/sh
# samples/train_on_gpu.py knows the checkpoints and the networks of this program: on a processor, from the
# default model, it carries a run on whose last steps `vqz train --resume` does.  Where it started and where
# it ended, held-out pictures measure the same to what few steps change.
set -eu
python=/usr/bin/python3
vqz=${VQZ:-./vqz}
if ! "$python" -c 'import torch, PIL' 2>/dev/null; then
    echo "skipped: no PyTorch (apt-get install python3-torch python3-pil)"
    exit 77
fi
folder=$(mktemp -d "${TMPDIR:-/tmp}/vqz-test-gpu.XXXXXX")
trap 'rm -rf "$folder"' EXIT
export OMP_WAIT_POLICY=passive

fail() {
    echo "$1"
    cat "$folder/said"
    exit 1
}

# At a learning rate that moves nothing.
run="$vqz train samples/pictures -o $folder/m.vqm --init default --lambda 0.4 --lr 1e-8 --batch 2 --crop 64
    --holdout 0.3 --log 0.01s --checkpoint 0.01s -T 1 --steps 100000"

# The last column but two of a log's last line that has it: PSNR of held-out crops.
held_out() {
    awk -F, 'NR > 1 && $15 > 0 { value = $15 } END { print value }' "$folder/m.vqm.csv"
}

$run 2>"$folder/said" &
pid=$!
tries=0
while [ ! -s "$folder/m.vqm.ckpt" ] || [ -z "$(held_out 2>/dev/null)" ]; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || { kill $pid; fail "no checkpoint in a minute"; }
    sleep 0.1
done
kill -TERM $pid
if wait $pid; then fail "it was to be stopped"; fi
before=$(held_out)

"$python" samples/train_on_gpu.py "$folder/m.vqm.ckpt" samples/pictures --device cpu --seconds 6 --batch 7 \
    --warm 0.5 --resume-at 0.9999 >"$folder/said" 2>&1 || fail "the script failed"
grep -q 'hard phase' "$folder/said" || fail "it reached no codes"
$run --resume 2>"$folder/said" || fail "the checkpoint it made was not taken"
after=$(held_out)
awk -v a="$before" -v b="$after" 'BEGIN { exit !(a > 20 && b > a - 0.5 && b < a + 0.5) }' ||
    fail "held-out crops: $before dB before, $after dB after"

# Others are refused.
echo "no checkpoint" >"$folder/no.ckpt"
if "$python" samples/train_on_gpu.py "$folder/no.ckpt" samples/pictures --device cpu --seconds 1 >"$folder/said" 2>&1; then
    fail "it took a file that is no checkpoint"
fi
grep -q 'not a whole checkpoint' "$folder/said" || fail "it did not say so"
