import json

from opensora.evaluation.evaluate import evaluate, summarise
from opensora.evaluation.metric import EvaluationInputs, read_samples


def test_metrics_without_input_are_listed_with_their_reason(world, tmp_path):
    samples = read_samples(world / "samples" / "samples.csv")
    result = evaluate(EvaluationInputs(samples=samples), tmp_path / "stage1.json")
    assert result["metrics"] == {}
    assert sorted(result["skipped"]) == ["clipsim", "prompt_following", "reconstruction"]
    assert "--clip" in result["skipped"]["clipsim"]
    assert summarise(result) == (
        "8 samples of 8 prompts; skipped clipsim, prompt_following, reconstruction"
    )


def test_the_file_holds_what_was_measured(world, tmp_path):
    samples = read_samples(world / "samples" / "samples.csv")
    inputs = EvaluationInputs(samples=samples, truth=world / "world" / "truth")
    result = evaluate(inputs, tmp_path / "stage1.json")
    assert json.loads((tmp_path / "stage1.json").read_text()) == result
    assert result["stage"] == "stage1"
    assert result["metrics"]["prompt_following"]["version"] >= 1
    assert "heldout: colour 100%" in summarise(result)
