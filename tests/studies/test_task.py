import pickle

import pytest

from onebasin.errors import OneBasinError
from onebasin_studies import Task, task
from onebasin_studies.runtime.task import resolve
from tests.studies import toy


def give(value=1, **more):
    return Task.of(toy.give, folder="x", value=value, **more)


def test_key_depends_on_function_arguments_and_inputs():
    assert give().key == give().key
    different = [give(), give(2), give(seconds=1.0), Task.of(toy.fail, folder="x")]
    different += [Task.of(toy.add, folder="x", parts=[give(n)]) for n in (1, 2)]
    different += [Task.of(toy.add, folder="x", parts=[give(1), give(2)])]
    different += [Task.of(toy.add, folder="x", parts=[give(2), give(1)])]
    assert len({task.key for task in different}) == len(different)


def test_version_is_part_of_the_key(monkeypatch):
    before = give().key
    task(version=2)(toy.give)
    try:
        assert give().key != before
    finally:
        del toy.give.declaration
    assert give().key == before


def test_labels_and_cost_do_not_affect_the_key():
    task = give().with_labels(width=3).with_labels(pair=1).with_cost(7)
    assert task.key == give().key
    assert (task.labels, task.cost) == ({"width": 3, "pair": 1}, 7.0)


def test_tuples_and_argument_order_do_not_affect_the_key():
    one = Task.of(toy.square, folder="x", values=(1, 2))
    two = Task.of(toy.square, values=[1, 2], folder="x")
    assert one.key == two.key


def test_omitted_argument_equals_its_default():
    assert give().key == give(seconds=0.0).key


def test_key_is_stable():
    # Stored results are found by their keys: another key means another computation.
    assert give().key == "b00108165d5f0117533a8f3c7f249123"


def test_map_creates_tasks_of_one_batch():
    tasks = Task.map(toy.square, folder="x", values=[3, 4])
    assert [task.arguments["values"] for task in tasks] == [[3], [4]]
    assert len({task.key for task in tasks}) == 2
    assert len({task.batch_key for task in tasks}) == 1
    (other,) = Task.map(toy.square, folder="y", values=[3])
    assert other.batch_key != tasks[0].batch_key
    assert give().batch_key != give(2).batch_key


def test_task_can_be_pickled():
    task = Task.of(toy.add, folder="x", parts=[give()])
    assert pickle.loads(pickle.dumps(task)).key == task.key
    assert resolve(task.function) is toy.add


def test_task_has_a_description():
    assert str(give(5).with_labels(width=4)) == "give(folder=x, value=5, width=4)"


def test_function_must_be_importable():
    def local() -> None: ...

    with pytest.raises(OneBasinError, match=r"local cannot be imported by other processes; define"):
        Task.of(local)
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        Task.of(toy.give, folder="x", value=1, nothing=2)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object()])
def test_argument_must_be_json(value):
    with pytest.raises(
        OneBasinError, match=r"argument 'value' of tests.studies.toy:give is .*JSON"
    ):
        give(value)
