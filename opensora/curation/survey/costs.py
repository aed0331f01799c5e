"""What a run will make of footage: seconds of each stage, and disk, as far as a sample tells."""

from opensora.curation.survey.look import Sample
from opensora.curation.survey.proposal import CLIP_FPS, CLIP_SIDE, Proposal
from opensora.curation.survey.words import Words

_BITS_A_PIXEL = 0.25  # of small clips by x264 as clips are encoded here
_WIDER = 16 / 9
# times that a stage decodes the footage: cutting also encodes, scores read what was cut
_PASSES = {
    "reencode": {"detect_scenes": 1.0, "split_clips": 1.5, "score_clips": 0.5},
    "copy": {"detect_scenes": 0.0, "split_clips": 0.1, "score_clips": 1.5},
    "import": {},
}


def footage_seconds(sample: Sample, proposal: Proposal) -> dict[str, float]:
    """Rule -> seconds of one core for all of the footage."""
    decode = sample.scaled(sum(one.decode_s for one in sample.seen))
    found = {rule: decode * passes for rule, passes in _PASSES[proposal.mode].items()}
    found["import_manifest" if proposal.mode == "import" else "ingest_videos"] = (
        sample.mean_probe_s * sample.total
    )
    return found


def clip_bytes(sample: Sample, words: Words, proposal: Proposal) -> int:
    """Bytes of the clips that a run writes; of ready ones those that lie in archives are copied."""
    if proposal.mode == "copy":
        return sample.bytes
    if proposal.mode == "import":
        return words.packed
    pixels = CLIP_SIDE * CLIP_SIDE * _WIDER
    return round(sample.footage_s * CLIP_FPS * pixels * _BITS_A_PIXEL / 8)
