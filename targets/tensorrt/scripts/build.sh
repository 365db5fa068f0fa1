#!/bin/sh
# Builds a TensorRT engine from the models in this folder, on the board that is to run it, and checks it there.
set -eu
export PYTHONIOENCODING=utf-8 # Python 3.6 would take ASCII where no language is set

usage() {
    cat <<'TEXT'
./build.sh [--precision P] [--cache] [--dla N] [--workspace MB] [--effort N] [--force] [--dry-run]
           [--verify | --no-verify] [--tensorrt VERSION] [--insist]

Prints the path of the engine, and nothing else, on standard output. An engine that is there already and was made from
the same models with the same flags by the same TensorRT is left as it is.

  --precision P   fp32, fp16, int8, ...; default: what the folder was exported for
  --cache         int8 from the float32 model and the calibration cache (TensorRT up to 10), not from the Q/DQ model
  --dla N         on the deep learning accelerator N, what it does not do on the GPU; int8 implies --cache
  --workspace MB  the most memory a layer may use while it is tried out; less of it on a board that runs out of memory
  --effort N      0 to 5: how long TensorRT looks for fast kernels (8.6 and newer; TensorRT's default is 3)
  --force         build even if the engine is current
  --dry-run       print the trtexec command and do nothing
  --verify        check an engine that is current, too; --no-verify: check none
  --tensorrt V    its version, where trtexec does not tell
  --insist        build although the folder is for another board, JetPack or TensorRT

Environment: TRTEXEC is the trtexec to use; XDG_CACHE_HOME is where timings are kept (default ~/.cache).
Exit codes: 0 there is an engine, 2 wrong options, 3 not for this board, JetPack or TensorRT, 4 something is missing or
damaged, 5 TensorRT does not build the engine, 6 the engine's outputs are not those expected, 130 interrupted.
TEXT
}

say() { printf 'build.sh: %s\n' "$*" >&2; }
stop() {
    code=$1
    shift
    say "$@"
    exit "$code"
}

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
ROOT=${EDGEPORT_ROOT:-} # another root than / for what describes the board
VERSION='' LIMIT='' EFFORT='' FORCE='' DRY_RUN='' VERIFY=new DLA=''
BOARD='' DEVICE='' L4T='' CUDA='' MEMORY='' STEM='' MODEL='' MODE='' CACHE='' DIGEST='' # set from recognize.py
PART='' CHILD=''

ASKED='' # options that recognize.py reads; they hold no blanks (checked below)
while [ $# -gt 0 ]; do
    case $1 in
        --precision | --dla | --workspace | --effort | --tensorrt)
            [ $# -gt 1 ] || stop 2 "$1 needs a value; see --help"
            case $2 in
                '' | *[!A-Za-z0-9.-]*) stop 2 "$1 $2: letters, digits, dots and hyphens only" ;;
            esac
            case $1 in
                --precision) ASKED="$ASKED --precision $2" ;;
                --tensorrt) VERSION=$2 ;;
                *)
                    case $2 in *[!0-9]*) stop 2 "$1 $2: a whole number, please" ;; esac
                    case $1 in
                        --dla) DLA=$2 ASKED="$ASKED --dla $2" ;;
                        --workspace) LIMIT=$2 ;;
                        --effort) EFFORT=$2 ;;
                    esac
                    ;;
            esac
            shift
            ;;
        --cache | --insist) ASKED="$ASKED $1" ;;
        --force) FORCE=yes ;;
        --dry-run) DRY_RUN=yes ;;
        --verify) VERIFY=all ;;
        --no-verify) VERIFY=none ;;
        --help | -h)
            usage
            exit 0
            ;;
        *) stop 2 "$1: no such option; see --help" ;;
    esac
    shift
done

# What is installed: python3, trtexec and its version. What trtexec says counts, for it builds the engine.
command -v python3 > /dev/null || stop 4 "python3 is missing: sudo apt-get install python3"
if [ -n "${TRTEXEC:-}" ]; then
    given=$TRTEXEC
    TRTEXEC=$(command -v "$given") || stop 4 "TRTEXEC=$given cannot be run; set it to the path of trtexec"
else
    TRTEXEC=$(command -v trtexec) || for place in "$ROOT/usr/src/tensorrt/bin/trtexec" "$ROOT/usr/bin/trtexec"; do
        if [ -z "$TRTEXEC" ] && [ -x "$place" ]; then TRTEXEC=$place; fi
    done
    [ -n "$TRTEXEC" ] || stop 4 "trtexec is missing: sudo apt-get install nvidia-jetpack, or set TRTEXEC to its path"
fi

installed() { dpkg-query -W -f '${Version}\n' "$1" 2> /dev/null | sed -n 's/^\([0-9][0-9.]*\).*/\1/p' | head -n 1; }
if [ -z "$VERSION" ]; then
    TOKEN=$("$TRTEXEC" --help 2>&1 | sed -n 's/.*\[TensorRT v\([0-9]*\)\].*/\1/p' | head -n 1)
    case ${#TOKEN} in # v8502 is 8.5.2, v100300 is 10.3.0
        4) VERSION=$((TOKEN / 1000)).$((TOKEN / 100 % 10)).$((TOKEN % 100)) ;;
        6) VERSION=$((TOKEN / 10000)).$((TOKEN / 100 % 100)).$((TOKEN % 100)) ;;
        *) VERSION=$(installed 'libnvinfer[0-9]*') ;;
    esac
fi
MAJOR=$(printf '%s' "$VERSION" | sed -n 's/^\([0-9][0-9]*\)\.[0-9].*/\1/p')
MINOR=$(printf '%s' "$VERSION" | sed -n 's/^[0-9]*\.\([0-9][0-9]*\).*/\1/p')
PATCH=$(printf '%s' "$VERSION" | sed -n 's/^[0-9]*\.[0-9]*\.\([0-9][0-9]*\).*/\1/p')
PATCH=${PATCH:-0}
[ -n "$MAJOR" ] || stop 4 "the version of TensorRT cannot be told from $TRTEXEC; give it with --tensorrt, e.g. 8.5.2"
VERSION=$MAJOR.$MINOR.$PATCH
since() { [ $((MAJOR * 1000 + MINOR)) -ge $(($1 * 1000 + $2)) ]; } # whether TensorRT is that version or newer

# Which board this is, whether the folder is for it, and what to build from.
GPU=$(nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null | head -n 1)
set -- --tensorrt "$VERSION" --root "$ROOT" --l4t "$(installed nvidia-l4t-core)" --gpu "$GPU"
# shellcheck disable=SC2086 # ASKED is a list of words without blanks
FACTS=$(python3 "$HERE/recognize.py" "$@" $ASKED) || {
    code=$?
    [ "$code" -le 4 ] && [ "$code" -ge 2 ] || code=4
    exit "$code"
}
eval "$FACTS"
say "$DEVICE${L4T:+, Jetson Linux R$L4T}, TensorRT $VERSION ($TRTEXEC)"

# The flags of this version of trtexec (samples/common/sampleOptions.cpp of NVIDIA/TensorRT, and its migration guides).
set --
case $MODE in
    float) ;;
    half) since 11 0 || set -- "$@" --fp16 ;;
    typed) since 11 0 || set -- "$@" --stronglyTyped ;;
    explicit) since 11 0 || set -- "$@" --int8 --fp16 ;;
    implicit) set -- "$@" --int8 --fp16 ;; # never without --calib below: trtexec would make ranges up
esac
[ -z "$DLA" ] || set -- "$@" "--useDLACore=$DLA" --allowGPUFallback
if since 8 6; then set -- "$@" --skipInference; else set -- "$@" --buildOnly; fi
if [ -z "$LIMIT" ] && ! since 8 4; then # before 8.4 it is 16 MB unless said, too little for many kernels
    LIMIT=$((MEMORY / 4))
    LIMIT=$((LIMIT - LIMIT % 256))
    [ "$LIMIT" -gt 0 ] || LIMIT=1024
fi
if [ -z "$LIMIT" ]; then :; elif since 8 4; then
    set -- "$@" "--memPoolSize=workspace:$LIMIT"
else
    set -- "$@" "--workspace=$LIMIT"
fi
if [ -n "$EFFORT" ]; then
    since 8 6 || stop 2 "--effort needs TensorRT 8.6 or newer"
    set -- "$@" "--builderOptimizationLevel=$EFFORT"
fi
if since 8 2; then set -- "$@" --profilingVerbosity=detailed; fi

# The name says what the engine was made from, so a current one is found by its name.
HASH=$(python3 -c 'import hashlib, sys; print(hashlib.sha256("\n".join(sys.argv[1:]).encode()).hexdigest()[:12])' \
    "$DIGEST" "$VERSION" "$CUDA" "$@")
NAME=$STEM.trt$VERSION.$HASH
ENGINE=$HERE/$NAME.engine
TIMINGS=${XDG_CACHE_HOME:-${HOME:-$HERE}/.cache}/edgeport/$BOARD-trt$VERSION-cuda${CUDA:-unknown}
PART=$HERE/$NAME.part.$$

check() { # the engine, and what to say if its outputs are wrong
    wrong=$2 code=0
    set -- "$1" --trtexec "$TRTEXEC" --tensorrt "$VERSION"
    [ -z "$CACHE" ] || set -- "$@" --margin 12 # implicit int8 rounds every layer's output, the Q/DQ model some inputs
    [ -z "$DLA" ] || set -- "$@" -- "--useDLACore=$DLA"
    python3 "$HERE/verify.py" "$@" >&2 || code=$?
    [ "$code" -ne 1 ] || stop 6 "the outputs are not those expected (see above)$wrong"
    [ "$code" -eq 0 ] || stop 6 "the outputs could not be checked (see above)$wrong"
}

if [ -e "$ENGINE" ] && [ -z "$FORCE" ] && [ -z "$DRY_RUN" ]; then
    say "the engine is current; --force builds it anew"
    [ "$VERIFY" != all ] || check "$ENGINE" ': --force builds it anew'
    printf '%s\n' "$ENGINE"
    exit 0
fi

[ -z "$CACHE" ] || set -- "$@" "--calib=$PART/calibration.cache"
if since 8 2; then set -- "$@" "--exportLayerInfo=$PART/layers.json"; fi
set -- "--onnx=$HERE/$MODEL" "--saveEngine=$PART/engine" "--timingCacheFile=$PART/timing.cache" "$@"
if [ -n "$DRY_RUN" ]; then
    printf '%s' "$TRTEXEC"
    printf " '%s'" "$@"
    printf '\n'
    exit 0
fi

[ "$VERIFY" = none ] || [ -e "$HERE/golden/golden.safetensors" ] ||
    stop 4 "there are no golden samples to check the engine with: give --no-verify, or copy the whole folder again"

# Everything is made in a folder of its own, which goes away whatever happens.
finish() {
    code=$?
    trap '' INT TERM HUP
    if [ -n "$CHILD" ]; then
        kill "$CHILD" 2> /dev/null || true
        wait "$CHILD" 2> /dev/null || true
    fi
    rm -rf "$PART"
    exit "$code"
}
trap finish EXIT
trap 'say interrupted; exit 130' INT TERM HUP
for left in "$HERE/$STEM".trt*.part.*; do # of a run that was killed and could not tidy up
    if [ -d "$left" ] && ! kill -0 "${left##*.}" 2> /dev/null; then rm -rf "$left"; fi
done
mkdir "$PART" || stop 4 "$HERE cannot be written to; copy the folder to where it can"
if [ -n "$CACHE" ]; then # TensorRT takes a cache whose header names its own version only
    token=$((MAJOR * (MAJOR < 10 ? 1000 : 10000) + MINOR * 100 + PATCH))
    { printf 'TRT-%s-EntropyCalibration2\n' "$token" && tail -n +2 "$HERE/$CACHE"; } > "$PART/calibration.cache"
fi
if [ -s "$TIMINGS/timing.cache" ]; then cp "$TIMINGS/timing.cache" "$PART/timing.cache"; fi

LOG=$HERE/$STEM.log
say "building $NAME.engine; this takes minutes, $LOG tells how far it is"
"$TRTEXEC" "$@" > "$LOG" 2>&1 &
CHILD=$!
code=0
wait "$CHILD" || code=$?
CHILD=''
if [ "$code" -eq 137 ]; then
    stop 5 "trtexec was killed, probably because memory ran out: add swap, or give --workspace MB with less of it"
elif [ "$code" -ne 0 ] || [ ! -s "$PART/engine" ]; then
    reason=$(grep -F '[E]' "$LOG" | head -n 1)
    stop 5 "TensorRT does not build the engine: ${reason:-trtexec ended with $code}; all of it is in $LOG"
elif [ -n "$CACHE" ] && grep -q -i -e 'calibration table does not match' -e 'calibration failure' "$LOG"; then
    stop 5 "TensorRT does not take the calibration cache; see $LOG"
fi
if [ -n "$CACHE" ]; then
    missing=$(grep -c -i 'missing scale and zero-point' "$LOG" || true)
    [ "$missing" -eq 0 ] || say "$missing tensors have no scale in the cache; their layers do not run in int8 (see $LOG)"
fi
[ ! -s "$PART/layers.json" ] || python3 "$HERE/layers.py" "$PART/layers.json" >&2 || true
[ "$VERIFY" = none ] || check "$PART/engine" ': the engine is not kept; --no-verify keeps it'

[ ! -s "$PART/layers.json" ] || mv "$PART/layers.json" "$HERE/$NAME.layers.json"
mv "$PART/engine" "$ENGINE"
for old in "$HERE/$STEM".trt*.engine "$HERE/$STEM".trt*.layers.json; do # made from other files, or by another TensorRT
    case $old in "$HERE/$NAME".*) ;; *) rm -f "$old" ;; esac
done
if [ -s "$PART/timing.cache" ] && mkdir -p "$TIMINGS" 2> /dev/null; then
    { cp "$PART/timing.cache" "$TIMINGS/timing.$$" && mv "$TIMINGS/timing.$$" "$TIMINGS/timing.cache"; } ||
        say "the next build cannot use the timings of this one"
fi
printf '%s\n' "$ENGINE"
