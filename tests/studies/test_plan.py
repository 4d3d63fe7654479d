import pytest

from onebasin.errors import OneBasinError
from onebasin_studies import Task
from onebasin_studies.papers.catalogue import STUDIES, find_studies
from onebasin_studies.runtime.progress import Estimate
from onebasin_studies.runtime.schedule import MOST_TOGETHER, Plan, Schedule
from tests.studies import toy


def give(value):
    return Task.of(toy.give, folder="x", value=value)


def add(*parts):
    return Task.of(toy.add, folder="x", parts=list(parts))


def squares(num):
    return Task.map(toy.square, folder="x", values=list(range(num)))


def test_plan_is_in_topological_order():
    first, second = add(give(1), give(2)), add(give(2), give(3))
    plan = Plan.of({"a": [first, add(first, second)], "b": [second, give(1)]})
    assert len(plan.tasks) == 6
    order = list(plan.tasks)
    for task in plan.tasks.values():
        assert all(order.index(t.key) < order.index(task.key) for t in task.dependencies())
    assert set(plan.keys_of("b")) == {second.key, give(1).key, give(2).key, give(3).key}


def test_long_chain_needs_no_recursion():
    task = give(0)
    for _ in range(3000):
        task = add(task)
        assert task.key
    assert len(Plan.of({"a": [task]}).tasks) == 3001


def test_missing_results_are_needed():
    middle = add(give(1), give(2))
    plan = Plan.of({"a": [add(middle)]})
    assert len(Schedule(plan, []).needed) == 4
    assert list(Schedule(plan, [middle.key, give(1).key]).needed) == [give(2).key, add(middle).key]
    assert Schedule(plan, plan.tasks).is_over


def test_task_is_ready_after_its_inputs():
    total = add(give(1), give(2))
    schedule = Schedule(Plan.of({"a": [total]}), [])
    assert [t.key for t in schedule.ready()] == [give(1).key, give(2).key]
    for value in (1, 2):
        schedule.start([give(value)])
        assert total.key not in {t.key for t in schedule.ready()}
        schedule.finish([give(value)])
    assert [t.key for t in schedule.ready()] == [total.key]
    assert not schedule.is_over


def test_largest_call_comes_first():
    tasks = [give(1), give(2).with_cost(9), give(3).with_cost(5)]
    schedule = Schedule(Plan.of({"a": tasks}), [])
    order = []
    while call := schedule.next_call(1):
        schedule.start(call)
        order.append(call[0].arguments["value"])
    assert order == [2, 3, 1]


def test_batch_is_divided_among_slots():
    def sizes(num_tasks, free):
        schedule, found = Schedule(Plan.of({"a": squares(num_tasks)}), []), []
        while call := schedule.next_call(free - len(found)):
            schedule.start(call)
            found.append(len(call))
        return found

    assert sizes(10, 1) == [10]
    assert sizes(10, 4) == [3, 3, 2, 2]
    assert sizes(2, 4) == [1, 1]
    assert sizes(100, 1) == [MOST_TOGETHER]


def test_failure_skips_only_dependents():
    bad, good = give(1), give(2)
    plan = Plan.of({"a": [add(add(bad)), add(good), add(bad, good)]})
    schedule = Schedule(plan, [])
    skipped = {task.key for task in schedule.fail([bad])}
    assert skipped == {add(bad).key, add(add(bad)).key, add(bad, good).key}
    assert [task.key for task in schedule.ready()] == [good.key]


def test_failed_batch_is_retried_one_by_one():
    tasks = squares(3)
    schedule = Schedule(Plan.of({"a": tasks}), [])
    schedule.start(schedule.next_call(1))
    assert schedule.retry(tasks, is_lost=False)
    assert [len(schedule.next_call(1)) for _ in range(2)] == [1, 1]
    alone = schedule.next_call(1)
    schedule.start(alone)
    assert not schedule.retry(alone, is_lost=False)


def test_lost_task_has_three_tries():
    task = give(1)
    schedule = Schedule(Plan.of({"a": [task]}), [])
    found = []
    for _ in range(3):
        schedule.start([task])
        found.append(schedule.retry([task], is_lost=True))
    assert found == [True, True, False]


def test_unknown_function_is_estimated_by_the_mean_task():
    estimate = Estimate()
    assert estimate.left([give(1)], 1) is None
    for value in range(4):
        estimate.update(give(value).with_cost(1e6), 10.0)
    assert estimate.left([give(9).with_cost(2e6)], 1) == 20.0
    unseen = [add(give(value)).with_cost(3.0) for value in range(8)]
    assert estimate.left(unseen, 1) == 80.0
    assert estimate.left(unseen, 4) == 20.0
    estimate.update(unseen[0], 0.3)
    assert estimate.left(unseen[1:3], 1) == pytest.approx(0.6)


def test_all_can_be_combined_with_names():
    assert list(find_studies(["all", "width"], "smoke")) == list(STUDIES)
    with pytest.raises(OneBasinError, match=r"unknown study 'wdth'; did you mean 'width'"):
        find_studies(["all", "wdth"], "smoke")
