"""Nothing that a program communicates escapes the reader of its text."""

import pytest

from parallel.spmd import hlo

EVERYTHING = ((0, 1, 2, 3, 4, 5, 6, 7),)
IN_HALVES, IN_PAIRS = ((0, 1, 2, 3), (4, 5, 6, 7)), ((0, 4), (1, 5), (2, 6), (3, 7))


def program(*lines, others=""):
    """The text of a program for 8 devices with these instructions in its entry."""
    body = "\n".join(f"  {line}" for line in ("%x = f32[16,4]{1,0} parameter(0)", *lines))
    entry = f"ENTRY %main.1_spmd (x: f32[16,4]) -> f32[16,4] {{\n{body}\n}}\n"
    return f"HloModule jit_f, is_scheduled=true, num_partitions=8\n\n{others}\n{entry}"


def only(*lines, others=""):
    (found,) = hlo.communications(program(*lines, others=others))
    return found


@pytest.mark.parametrize(
    "written, groups",
    [
        ("{}", EVERYTHING),
        ("{{0,1,2,3},{4,5,6,7}}", IN_HALVES),
        ("{{0,4},{1,5},{2,6},{3,7}}", IN_PAIRS),
        ("[2,4]<=[8]", IN_HALVES),
        ("[4,2]<=[2,4]T(1,0)", IN_PAIRS),
        ("[4,2]<=[2,2,2]T(0,2,1)", ((0, 2), (1, 3), (4, 6), (5, 7))),
        ("mesh['axis_0'=2,'axis_1'=4] {'axis_1'}", IN_HALVES),
        ("mesh['axis_0'=2,'axis_1'=4] {'axis_0'}", IN_PAIRS),
        ("mesh['axis_0'=2,'axis_1'=4] {'axis_0','axis_1'}", EVERYTHING),
        ("mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}", IN_HALVES),
        ("mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}", IN_PAIRS),
        ("mesh['a'=8] {'a':(2)4}", IN_HALVES),
        ("mesh['a'=8] {'a':(1)2}", IN_PAIRS),
        ("mesh['a'=8] {'a':(1)2,'a':(4)2}", ((0, 1, 4, 5), (2, 3, 6, 7))),
    ],
)
def test_groups_are_read_whichever_way_they_are_written(written, groups):
    got = only(
        f"%y = f32[64,4]{{1,0}} all-gather(%x), channel_id=1, replica_groups={written}, "
        "dimensions={0}"
    )
    assert got.groups == groups


@pytest.mark.parametrize("kind", [kind for kind in hlo.KINDS if kind != "collective-permute"])
def test_every_kind_of_collective_is_seen_whether_it_waits_or_not(kind):
    attributes = (
        "channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}, use_global_device_ids=true"
    )
    at_once = only(f"ROOT %y = f32[16,4]{{1,0}} {kind}(%x), {attributes}")
    started = f"%y = ((f32[16,4]{{1,0}}), f32[16,4]{{1,0}}, u32[]) {kind}-start(%x), {attributes}"
    in_two_steps = only(started, f"ROOT %z = f32[16,4]{{1,0}} {kind}-done(%y)")
    assert at_once == in_two_steps == hlo.Communication(kind, 256, (), IN_HALVES, ())


def test_sends_are_seen_with_their_pairs():
    attributes = "channel_id=1, source_target_pairs={{0,1},{1,2},{7,0}}"
    at_once = only(f"ROOT %y = f32[16,4]{{1,0}} collective-permute(%x), {attributes}")
    shape = "(f32[16,4]{1,0}, f32[16,4]{1,0}, u32[], u32[])"
    in_two_steps = only(
        f"%y = {shape} collective-permute-start(%x), {attributes}",
        "ROOT %z = f32[16,4]{1,0} collective-permute-done(%y)",
    )
    pairs = ((0, 1), (1, 2), (7, 0))
    assert at_once == in_two_steps == hlo.Communication("collective-permute", 256, pairs, (), ())


def test_all_operands_count_and_all_arrays_of_a_tuple():
    two = "%y = (f32[16,4]{1,0}, bf16[4]{0}) all-to-all(%x, /*index=1*/%b), replica_groups={}"
    assert only("%b = bf16[4]{0} constant({...})", two).bytes == 256 + 8
    of_tuple = "%y = (f32[16,4]{1,0}, s4[7]{0}) collective-permute(%t), source_target_pairs={{0,1}}"
    assert (
        only("%t = (f32[16,4]{1,0:T(8,128)S(1)}, s4[7]{0}) tuple(%x, %x)", of_tuple).bytes
        == 256 + 4
    )


def test_a_ragged_exchange_counts_its_rows_and_not_its_table_of_contents():
    ragged = "%y = f32[16,4]{1,0} ragged-all-to-all(%x, %x, %s, %s, %s, %s), replica_groups={}"
    assert only("%s = s32[4]{0} constant({...})", ragged).bytes == 256


LOOP = """
%body (p: (s32[], f32[16,4])) -> (s32[], f32[16,4]) {
  %p = (s32[], f32[16,4]{1,0}) parameter(0)
  %v = f32[16,4]{1,0} get-tuple-element(%p), index=1
  %y = f32[16,4]{1,0} collective-permute(%v), source_target_pairs={{0,1}}
  ROOT %t = (s32[], f32[16,4]{1,0}) tuple(%v, %y)
}

%condition (p: (s32[], f32[16,4])) -> pred[] {
  ROOT %more = pred[] constant(true)
}

%outer (p: (s32[], f32[16,4])) -> (s32[], f32[16,4]) {
  %p = (s32[], f32[16,4]{1,0}) parameter(0)
  ROOT %w = (s32[], f32[16,4]{1,0}) while(%p), condition=%condition, body=%body, backend_config={}
}
"""


def test_loops_are_noted_from_the_outermost_inwards():
    five = 'backend_config={"known_init_step":{"init":"0","step":"1"},"known_trip_count":{"n":"5"}}'
    line = f"%w = (s32[], f32[16,4]{{1,0}}) while(%x), condition=%condition, body=%outer, {five}"
    assert only(line, others=LOOP).trips == (5, None)


CALLED = """
%wrapped (v: f32[16,4]) -> f32[16,4] {
  %v = f32[16,4]{1,0} parameter(0)
  ROOT %r = f32[16,4]{1,0} all-reduce(%v), replica_groups={{0,4},{1,5},{2,6},{3,7}}, to_apply=%add
}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  ROOT %c = f32[] add(%a, %a)
}
"""


@pytest.mark.parametrize(
    "call",
    [
        "call(%x), to_apply=%wrapped",
        "fusion(%x), kind=kLoop, calls=%wrapped",
        "async-start(%x), calls=%wrapped",
        "conditional(%x, %x, %x), branch_computations={%add, %wrapped}",
        "conditional(%x, %x, %x), true_computation=%wrapped, false_computation=%add",
    ],
)
def test_called_computations_are_followed(call):
    assert only(f"%y = f32[16,4]{{1,0}} {call}", others=CALLED).groups == IN_PAIRS


def test_a_computation_called_twice_counts_twice():
    calls = [f"%y{i} = f32[16,4]{{1,0}} call(%x), to_apply=%wrapped" for i in range(2)]
    assert len(hlo.communications(program(*calls, others=CALLED))) == 2


def test_a_collective_that_nobody_seems_to_call_is_not_passed_over():
    with pytest.raises(AssertionError, match="{'wrapped'} communicate, but no call of them"):
        hlo.communications(program("%y = f32[] new-kind-of-call(%x), runs=%wrapped", others=CALLED))


@pytest.mark.parametrize(
    "line, message",
    [
        (
            "%y = f32[] all-shuffle(%x), replica_groups={}",
            "has a 'all-shuffle', which cannot be audited; known are",
        ),
        ("%y = f32[] send(%x), channel_id=1", "has a 'send', which cannot be audited"),
        (
            "%y = f32[] all-gather(%x), replica_groups=blocks(2)",
            "cannot read which devices communicate in .*blocks",
        ),
        (
            "%y = f32[] collective-permute(%x), source_target_pairs=next",
            "cannot read which devices communicate",
        ),
        ("%y = f32[] all-reduce(%x), replica_groups={{0}}", "are not a partition of 8 devices"),
    ],
)
def test_what_cannot_be_read_is_refused(line, message):
    with pytest.raises(ValueError, match=message):
        hlo.communications(program(line))


def test_a_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY computation: pass `compiled.as_text"):
        hlo.communications("HloModule empty")
