"""What findings of several renditions and CDNs come to: the word, the cause, and an honest sentence."""

from __future__ import annotations

import pytest

from server_probe.detectors import Finding
from server_probe.look import Defect
from server_probe.verdict import Examined, cases, judge, overall, summary_of


def finding(detector: str, start_s: float, end_s: float, note: str = "") -> Finding:
    return Finding(detector, start_s, end_s, 1.0, 0.5, "u", start_s, note)


def examined(
    rendition: str,
    *findings: Finding,
    cdn: str = "a",
    detectors: tuple[str, ...] = ("freeze", "gaps", "corruption", "black"),
    silences: tuple[Finding, ...] = (),
    has_sound: bool = True,
    motion: float = 0.05,
    end_s: float = 60.0,
) -> Examined:
    return Examined(rendition, cdn, 0.0, end_s, frozenset(detectors), findings, has_sound, silences, motion)


def judged(*passes: Examined, complaints: tuple[str, ...] = ()) -> list[Defect]:
    return [judge(case, complaints) for case in cases(passes)]


def test_one_rendition_of_two_is_the_encoder_or_packager() -> None:
    """A hole in one rendition while its sibling is whole names the one and clears the other."""
    (defect,) = judged(examined("270p", finding("gaps", 20, 24, "picture missing")), examined("180p"))
    assert defect.verdict == "confirmed"
    assert defect.source == "encoder or packager"
    assert defect.rendition == "270p"
    assert "180p is whole" in defect.what


def test_one_cdn_of_two_is_the_delivery() -> None:
    """The same rendition whole from another CDN clears encoder and packager."""
    (defect,) = judged(
        examined("270p", finding("corruption", 3, 4), cdn="a"), examined("270p", cdn="b"), examined("180p", cdn="a")
    )
    assert defect.source == "delivery"
    assert defect.cdn == "a"


def test_all_renditions_are_the_source() -> None:
    """Damage in every rendition was there before the encoders; it is told once."""
    (defect,) = judged(
        examined("270p", finding("corruption", 3, 5)), examined("180p", finding("corruption", 3.04, 5.0))
    )
    assert defect.source == "source"
    assert defect.rendition == "all"


def test_a_single_rendition_leaves_the_cause_open() -> None:
    """Nothing to compare with: confirmed, cause unknown."""
    (defect,) = judged(examined("file", finding("gaps", 1, 3, "picture missing")))
    assert defect.source == "unknown"


def test_a_hole_is_not_told_again_as_damage() -> None:
    """The decoder's jump over missing packets is the same defect as the missing packets."""
    defects = judged(examined("270p", finding("gaps", 20, 24), finding("corruption", 20.0, 24.0)))
    assert [defect.detector for defect in defects] == ["gaps"]


def test_a_short_still_without_reference_is_not_told_as_a_freeze() -> None:
    """Three seconds without motion are a still shot as often as a fault: cannot tell."""
    (defect,) = judged(examined("270p", finding("freeze", 3, 6)), examined("180p", finding("freeze", 3, 6)))
    assert defect.verdict == "cannot tell"
    assert defect.what.startswith("still picture")


def test_a_long_still_with_live_sound_is_confirmed_as_just_that() -> None:
    """Twelve seconds with the sound going on in all renditions: confirmed, and the sentence says it may be meant."""
    (defect,) = judged(examined("270p", finding("freeze", 30, 42)), examined("180p", finding("freeze", 30, 42)))
    assert defect.verdict == "confirmed"
    assert defect.source == "source"
    assert "stands still for 12.0 s" in defect.what
    assert "looks the same" in defect.what


@pytest.mark.parametrize(
    "silent", [{"has_sound": False}, {"silences": (finding("silence", 31, 41),)}], ids=["no track", "silence"]
)
def test_a_long_still_in_silence_stays_open(silent: dict[str, object]) -> None:
    """Credits without sound, or a pause: no sound, no proof."""
    passes = [
        examined(name, finding("freeze", 30, 42), **silent)  # type: ignore[arg-type]
        for name in ("270p", "180p")
    ]
    assert [defect.verdict for defect in judged(*passes)] == ["cannot tell"]


def test_players_word_confirms_a_short_freeze() -> None:
    """Where players reported freeze_ms, a still picture at that time is what they saw."""
    (defect,) = judged(examined("270p", finding("freeze", 3, 5)), complaints=("freeze_ms",))
    assert defect.verdict == "confirmed"
    (other,) = judged(examined("270p", finding("freeze", 3, 5)), complaints=("errors",))
    assert other.verdict == "cannot tell"


def test_a_moving_sibling_proves_a_freeze() -> None:
    """The sibling is a reference only if it plainly moves at the same time."""
    frozen = examined("270p", finding("freeze", 3, 5))
    (proved,) = judged(frozen, examined("180p", motion=0.05))
    assert (proved.verdict, proved.source) == ("confirmed", "encoder or packager")
    (open_,) = judged(frozen, examined("180p", motion=0.004))
    assert (open_.verdict, open_.source) == ("cannot tell", "unknown")


def test_a_sibling_that_did_not_cover_the_time_clears_nothing() -> None:
    """Only what was looked at through the whole defect, by the same detector, counts as whole."""
    bad = examined("270p", finding("corruption", 50, 58))
    (short,) = judged(bad, examined("180p", end_s=52.0))
    assert short.source == "unknown"
    (other,) = judged(bad, examined("180p", detectors=("gaps",)))
    assert other.source == "unknown"


def test_black_in_all_renditions_may_be_meant() -> None:
    """A fade to black is content: cannot tell; in one rendition only it is a defect."""
    both = judged(examined("270p", finding("black", 3, 5)), examined("180p", finding("black", 3, 5)))
    assert [defect.verdict for defect in both] == ["cannot tell"]
    one = judged(examined("270p", finding("black", 3, 5)), examined("180p"))
    assert [defect.verdict for defect in one] == ["confirmed"]


def test_not_reproduced_needs_everything_to_be_looked_at() -> None:
    """A look that could not read something is never a clean bill."""
    assert overall([], complete=True) == "not reproduced"
    assert overall([], complete=False) == "cannot tell"


def test_players_suffer_while_nothing_is_wrong() -> None:
    """A flagged look that finds nothing points at client or network; a sampled one does not."""
    assert "client or network" in summary_of("not reproduced", [], [], flagged=True)
    assert "client" not in summary_of("not reproduced", [], [], flagged=False)


def test_the_summary_tells_the_worst_and_counts_the_rest() -> None:
    """One sentence for a page: the longest confirmed defect, then how many more."""
    defects = judged(
        examined("270p", finding("gaps", 1, 2, "picture missing"), finding("gaps", 20, 24, "picture missing"))
    )
    sentence = summary_of("confirmed", defects, [], flagged=True)
    assert "4.0 s" in sentence
    assert sentence.endswith("and 1 more")
