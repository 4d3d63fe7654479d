"""Compiled steps for networks with one hidden layer, in cache-sized blocks of examples.

A step reads the rows of the swapped units, adds their change to the logits as products of one row
and one number per class, and sums the energy in the same pass. Vectors run along the examples:
arrays are `(units, examples)` and `(classes, examples)`.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

BLOCK = 512
"""Number of examples in a block; about twenty rows and the logits of ten classes fit the cache."""

WIDTH = 4
"""Number of products that are added to the logits in one pass."""

LOSS, ERROR = 0, 1

FAST = {"reassoc", "contract", "nsz", "arcp"}
OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": FAST, "error_model": "numpy", "cache": True}


@intrinsic
@no_type_check
def _float_of_bits(typing_context, bits):
    """Return the float32 with these bits; the cast can be vectorized."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


@njit(inline="always", **OPTIONS)
@no_type_check
def _exp(x):
    """Return e^x for x <= 0 with a relative error below 3e-7; below -87 it is e^-87."""
    x = max(x, np.float32(-87.0))
    twos = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    # ln 2 in two parts, which keeps the remainder exact.
    rest = x - twos * np.float32(0.693359375) + twos * np.float32(2.12194440e-4)
    value = np.float32(1 / 5040) * rest + np.float32(1 / 720)
    value = value * rest + np.float32(1 / 120)
    value = value * rest + np.float32(1 / 24)
    value = value * rest + np.float32(1 / 6)
    value = value * rest + np.float32(0.5)
    value = value * rest * rest + rest + np.float32(1.0)
    return value * _float_of_bits((np.int32(twos) + np.int32(127)) << np.int32(23))


@njit(**OPTIONS)
@no_type_check
def _units(members, touched, num_touched, units):
    """Collect the distinct swapped units of an average; return their number."""
    count = 0
    for member in members:
        for i in range(num_touched[member]):
            known = False
            for j in range(count):
                known = known or units[j] == touched[member, i]
            if not known:
                units[count] = touched[member, i]
                count += 1
    return count


@njit(**OPTIONS)
@no_type_check
def _fill_factors(members, units, indices, proposed, outgoing, factors):
    """Write the outgoing weights of the new units, then those of the old ones negated."""
    share = np.float32(1.0 / len(members))
    factors[:] = 0.0
    for u in range(len(units)):
        for member in members:
            new, old = proposed[member, units[u]], indices[member, units[u]]
            for c in range(factors.shape[1]):
                factors[2 * u, c] += outgoing[member, new, c] * share
                factors[2 * u + 1, c] -= outgoing[member, old, c] * share


@njit(**OPTIONS)
@no_type_check
def _fill_row(members, unit, indices, hidden, start, stop, row):
    """Write the averaged unit's values after ReLU for a block of examples."""
    share = np.float32(1.0 / len(members))
    source = hidden[members[0], indices[members[0], unit], start:stop]
    for i in range(stop - start):
        row[i] = source[i]
    for m in range(1, len(members)):
        source = hidden[members[m], indices[members[m], unit], start:stop]
        for i in range(stop - start):
            row[i] += source[i]
    for i in range(stop - start):
        row[i] = max(row[i] * share, np.float32(0.0))


@njit(**OPTIONS)
@no_type_check
def _add_products(logits, changed, rows, factors, num_rows, start, stop):
    """Write logits plus the products of rows and factors for a block of examples."""
    for c in range(len(logits)):
        source, target = logits[c, start:stop], changed[c, start:stop]
        for r in range(0, num_rows, WIDTH):
            a, b, d, e = rows[r], rows[r + 1], rows[r + 2], rows[r + 3]
            fa, fb, fd, fe = factors[r, c], factors[r + 1, c], factors[r + 2, c], factors[r + 3, c]
            for i in range(stop - start):
                target[i] = source[i] + (a[i] * fa + b[i] * fb) + (d[i] * fd + e[i] * fe)
            source = target


@njit(**OPTIONS)
@no_type_check
def _block_loss(logits, labels, start, stop, work):
    """Return the sum of the cross-entropies of a block of examples."""
    size = stop - start
    highest, own, total = work[0], work[1], work[2]
    for i in range(size):
        highest[i], own[i], total[i] = np.float32(-3e38), np.float32(0.0), np.float32(0.0)
    for c in range(len(logits)):
        row, classes = logits[c, start:stop], labels[start:stop]
        for i in range(size):
            highest[i] = max(highest[i], row[i])
            own[i] = row[i] if classes[i] == c else own[i]
    for c in range(len(logits)):
        row = logits[c, start:stop]
        for i in range(size):
            total[i] += _exp(row[i] - highest[i])
    loss = 0.0
    for i in range(size):
        loss += highest[i] - own[i]
    # One logarithm for eight sums; each sum is between 1 and the number of classes.
    fold = 8 if len(logits) < 30000 else 1
    part = size // fold
    for j in range(1, fold):
        for i in range(part):
            total[i] *= total[j * part + i]
    for i in range(part):
        loss += np.log(total[i])
    for i in range(fold * part, size):
        loss += np.log(total[i])
    return loss


@njit(**OPTIONS)
@no_type_check
def _block_errors(logits, labels, start, stop, work):
    """Return the number of wrong answers in a block; ties select the first class."""
    size = stop - start
    highest, own, count = work[0], work[1], 0.0
    for i in range(size):
        highest[i], own[i] = np.float32(-3e38), np.float32(-1.0)
    for c in range(len(logits)):
        row = logits[c, start:stop]
        for i in range(size):
            higher = row[i] > highest[i]
            highest[i] = row[i] if higher else highest[i]
            own[i] = np.float32(c) if higher else own[i]
    for i in range(size):
        count += 1.0 if own[i] != np.float32(labels[start + i]) else 0.0
    return count


@njit(**OPTIONS)
@no_type_check
def workspace(mixtures, logits):
    """Return the buffers of `propose`; rows after the last product must stay 0."""
    num_units = 2 * mixtures.shape[1]
    units = np.empty(num_units, np.int64)
    factors = np.zeros((2 * num_units + WIDTH, logits.shape[2]), np.float32)
    rows = np.zeros((2 * num_units + WIDTH, BLOCK), np.float32)
    return units, factors, rows, np.empty((3, BLOCK), np.float32)


@njit(**OPTIONS)
@no_type_check
def propose(
    hidden, outgoing, mixtures, logits, changed, labels, indices, proposed, touched, num_touched,
    kind, units, factors, rows, work,
):  # fmt: skip
    """Write the logits after swaps, and return the energy.

    Args:
        hidden: the networks' first layer before ReLU, `(networks, units, examples)`.
        outgoing: their weights of the logits, `(networks, units, classes)`.
        mixtures: numbers of the networks in each average, `(averages, members)`.
        logits, changed: before and after the swaps, `(averages, classes, examples)`.
        labels: classes, `(examples,)`.
        indices, proposed: before and after the swaps, `(networks, units)`.
        touched, num_touched: the swapped positions and their number.
        kind: LOSS or ERROR.
        units, factors, rows, work: buffers.
    """
    num_examples = len(labels)
    total = 0.0
    for a in range(len(mixtures)):
        members = mixtures[a]
        count = _units(members, touched, num_touched, units)
        _fill_factors(members, units[:count], indices, proposed, outgoing, factors)
        for start in range(0, num_examples, BLOCK):
            stop = min(start + BLOCK, num_examples)
            for u in range(count):
                _fill_row(members, units[u], proposed, hidden, start, stop, rows[2 * u])
                _fill_row(members, units[u], indices, hidden, start, stop, rows[2 * u + 1])
            _add_products(logits[a], changed[a], rows, factors, max(2 * count, 1), start, stop)
            if kind == LOSS:
                total += _block_loss(changed[a], labels, start, stop, work)
            else:
                total += _block_errors(changed[a], labels, start, stop, work)
    return total / num_examples / len(mixtures)


@njit(**OPTIONS)
@no_type_check
def anneal(
    hidden, outgoing, mixtures, logits, labels, indices, kind, networks, swaps, uniforms,
    temperatures, energy, best_indices, best_energy,
):  # fmt: skip
    """Try steps with Metropolis's rule; indices and best indices change in place.

    Args:
        logits: `(2, averages, classes, examples)`, the current ones first.
        networks: network of each column, `(columns,)`, each at most once.
        swaps: first and second position, `(steps, columns, 2)`; -1 for none.

    Returns:
        The energy, the best energy, the number of accepted steps, and the position of the
        current logits.
    """
    units, factors, rows, work = workspace(mixtures, logits)
    touched, num_touched = np.empty((len(indices), 2), np.int64), np.zeros(len(indices), np.int64)
    proposed = indices.copy()
    now, num_accepted = 0, 0
    for step in range(len(swaps)):
        for column in range(len(networks)):
            network, first, second = (
                networks[column],
                swaps[step, column, 0],
                swaps[step, column, 1],
            )
            num_touched[network] = 0
            if first >= 0:
                touched[network, 0], touched[network, 1], num_touched[network] = first, second, 2
                proposed[network, first] = indices[network, second]
                proposed[network, second] = indices[network, first]
        proposed_energy = propose(
            hidden, outgoing, mixtures, logits[now], logits[1 - now], labels, indices, proposed,
            touched, num_touched, kind, units, factors, rows, work,
        )  # fmt: skip
        change = proposed_energy - energy
        is_accepted = change <= 0 or np.exp(-change / temperatures[step]) >= uniforms[step]
        for network in networks:
            for i in range(num_touched[network]):
                at = touched[network, i]
                if is_accepted:
                    indices[network, at] = proposed[network, at]
                else:
                    proposed[network, at] = indices[network, at]
        if is_accepted:
            energy, now, num_accepted = proposed_energy, 1 - now, num_accepted + 1
            if energy < best_energy:
                best_energy = energy
                best_indices[:] = indices
    return energy, best_energy, num_accepted, now
