"""The ledger: conversions against stored numbers, what adds up, what is refused."""

from __future__ import annotations

import copy
import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone

from robuststat import PrivacyAccountant, PrivacyBudgetError, SparseVector
from robuststat.private import Charge, PrivacyCost
from robuststat.private import _accounting as accounting


@pytest.fixture(scope="module")
def stored(reference):
    rows = json.loads((reference / "dp_robust" / "accounting.json").read_text())
    return {
        "zcdp": [r for r in rows if "rho" in r],
        "pure": [r for r in rows if "rho_pure" in r],
        "compositions": [r for r in rows if "k" in r],
    }


@pytest.mark.reference
def test_zcdp_to_epsilon(stored):
    assert len(stored["zcdp"]) == 4
    for row in stored["zcdp"]:
        found = accounting.zcdp_to_epsilon(row["rho"], row["delta"])
        assert found == pytest.approx(row["eps"], rel=1e-9)
        # The inverse spends the whole budget and not more.
        assert accounting.zcdp_for(row["eps"], row["delta"]) == pytest.approx(row["rho"], rel=1e-7)
        assert (
            accounting.zcdp_to_epsilon(accounting.zcdp_for(row["eps"], row["delta"]), row["delta"])
            <= row["eps"]
        )


@pytest.mark.reference
def test_pure_to_zcdp(stored):
    for row in stored["pure"]:
        assert accounting.pure_to_zcdp(row["eps"]) == pytest.approx(row["rho_pure"], rel=1e-12)
        assert accounting.exponential_to_zcdp(row["eps"]) == pytest.approx(row["rho_exponential"])


@pytest.mark.reference
def test_optimal_composition(stored):
    for row in stored["compositions"]:
        k, each, delta = row["k"], row["eps_each"], row["delta"]
        for i, expected in enumerate(row["kov_delta_at_grid"]):
            found = accounting.optimal_delta(k, each, (k - 2 * i) * each)
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-300)
        total = accounting.optimal_epsilon(k, each, delta)
        # The stored value is the smallest on the grid (k - 2i) epsilon; between two of its points
        # a smaller one is enough, which no k-fold Laplace mechanism contradicts.
        assert row["kov_grid"] - 2 * each < total <= row["kov_grid"]
        assert total >= row["laplace_pld_dp_accounting"]
        assert accounting.optimal_delta(k, each, total) <= delta
        assert accounting.optimal_delta(k, each, total * (1 - 1e-6)) > delta
        rho = k * accounting.exponential_to_zcdp(each)
        found = accounting.zcdp_to_epsilon(rho, delta)
        assert found == pytest.approx(row["zcdp_exponential"], rel=1e-9)


def test_optimal_delta_is_the_hockey_stick_of_randomised_response():
    """All 2**k outcomes of k answers, one by one."""
    k, each, epsilon = 6, 0.4, 0.9
    outcomes = np.array(np.meshgrid(*[[0, 1]] * k)).reshape(k, -1).sum(axis=0)
    p = 1 / (1 + math.exp(-each))
    truth, lie = p**outcomes * (1 - p) ** (k - outcomes), p ** (k - outcomes) * (1 - p) ** outcomes
    exact = np.maximum(truth - math.exp(epsilon) * lie, 0).sum()
    assert accounting.optimal_delta(k, each, epsilon) == pytest.approx(exact, rel=1e-9)
    assert accounting.optimal_epsilon(5, 0.1, 0.99) == 0.0


def test_pure_mechanisms_attain_the_zcdp_bound():
    """Randomised response: Renyi divergences of all orders stay below, one is close."""
    for epsilon in (0.1, 1.0, 3.0):
        p = 1 / (1 + math.exp(-epsilon))
        orders = np.array([1.0001, 1.5, 2.0, 4.0, 16.0])
        moment = p**orders * (1 - p) ** (1 - orders) + (1 - p) ** orders * p ** (1 - orders)
        rho = np.log(moment) / (orders - 1) / orders
        assert rho.max() <= accounting.pure_to_zcdp(epsilon) * (1 + 1e-6)
        assert rho.max() >= accounting.pure_to_zcdp(epsilon) * (1 - 1e-3)


def test_ten_tenths_are_one():
    ledger = PrivacyAccountant(1.0)
    for _ in range(10):
        ledger.spend(epsilon=0.1)
    assert ledger.total() == PrivacyCost(pytest.approx(1.0), 0.0)
    assert ledger.remaining.epsilon == 0.0
    with pytest.raises(PrivacyBudgetError, match="epsilon=1e-09 does not fit"):
        ledger.spend(epsilon=1e-9)


def test_deltas_add_up_too():
    ledger = PrivacyAccountant(10.0, delta=1e-5)
    ledger.spend(epsilon=1.0, delta=6e-6)
    with pytest.raises(PrivacyBudgetError, match=r"epsilon=1, delta=6e-06 does not fit"):
        ledger.spend(epsilon=1.0, delta=6e-6)
    assert ledger.total() == PrivacyCost(1.0, 6e-6)


def test_rho_under_basic_composition_uses_the_delta_that_is_left():
    ledger = PrivacyAccountant(5.0, delta=2e-6)
    ledger.spend(epsilon=1.0, delta=1e-6)
    ledger.spend(rho=0.01)
    ledger.spend(rho=0.01)
    expected = 1.0 + accounting.zcdp_to_epsilon(0.02, 1e-6)
    assert ledger.total().epsilon == pytest.approx(expected, rel=1e-6)
    with pytest.raises(PrivacyBudgetError, match=r"rho=0.01 does not fit"):
        PrivacyAccountant(5.0).spend(rho=0.01)


def test_zcdp_knows_exponential_mechanisms():
    def total(each, k, kind):
        ledger = PrivacyAccountant(9.0, delta=1e-6, composition="zcdp")
        for _ in range(k):
            ledger.spend(epsilon=each, kind=kind)
        return ledger.total().epsilon

    rho = 100 * 0.1 * math.tanh(0.05)
    assert total(0.1, 100, "pure") == pytest.approx(accounting.zcdp_to_epsilon(rho, 1e-6))
    rho = 100 * 0.1**2 / 8
    assert total(0.1, 100, "exponential") == pytest.approx(accounting.zcdp_to_epsilon(rho, 1e-6))
    # For few charges the plain sum is the smaller bound.
    assert total(0.1, 2, "pure") == pytest.approx(0.2)


def test_zcdp_takes_charges_of_all_kinds():
    mixed = PrivacyAccountant(1.0, delta=1e-6, composition="zcdp")
    mixed.spend(epsilon=0.1, delta=5e-7)
    mixed.spend(rho=0.001)
    rho = 0.1 * math.tanh(0.05) + 0.001
    assert mixed.total().epsilon == pytest.approx(accounting.zcdp_to_epsilon(rho, 5e-7))
    assert mixed.remaining.delta == pytest.approx(5e-7)


def test_optimal_total_depends_on_the_number_of_charges():
    ledger = PrivacyAccountant(7.0, delta=1e-6, composition="optimal")
    for _ in range(50):
        ledger.spend(epsilon=0.2)
    assert ledger.total().epsilon == pytest.approx(accounting.optimal_epsilon(50, 0.2, 1e-6))
    assert ledger.remaining.epsilon == 0.2
    ledger.spend(epsilon=0.05)  # counts as a whole one
    assert ledger.total().epsilon == pytest.approx(accounting.optimal_epsilon(51, 0.2, 1e-6))
    assert ledger.remaining.epsilon == 0.0
    with pytest.raises(ValueError, match="charges of one size"):
        ledger.spend(epsilon=0.3)
    with pytest.raises(ValueError, match="adds up pure charges"):
        ledger.spend(rho=0.1)
    with pytest.raises(PrivacyBudgetError, match="does not fit"):
        ledger.spend(epsilon=0.2)


@pytest.mark.parametrize("composition", ["basic", "zcdp", "optimal"])
def test_what_remains_can_be_spent_and_no_more(composition):
    ledger = PrivacyAccountant(1.0, delta=1e-6, composition=composition)
    ledger.spend(epsilon=0.3)
    left = ledger.remaining.epsilon
    assert 0 < left < 1
    if composition != "optimal":
        with pytest.raises(PrivacyBudgetError):
            ledger.spend(epsilon=left * 1.001)
    ledger.spend(epsilon=left * (1 - 1e-9))


def test_history_is_an_odometer():
    ledger = PrivacyAccountant(2.0)
    ledger.spend(epsilon=0.5, label="median")
    receipt = ledger.record(Charge("exponential", 0.25, 0.0, 0.0, "iqr", adjacency="replace"))
    ledger.mark_failed(receipt)
    history = ledger.history_
    assert history["label"].tolist() == ["median", "iqr"]
    assert history["failed"].tolist() == [False, True]
    assert history["total_epsilon"].tolist() == [0.5, 0.75]
    assert ledger.remaining.epsilon == 1.25


def test_neighbours_of_two_kinds_do_not_add_up():
    ledger = PrivacyAccountant(2.0)
    ledger.record(Charge("pure", 0.5, 0.0, 0.0, "a", adjacency="replace"))
    with pytest.raises(ValueError, match="'replace', the new one is under 'add_remove'"):
        ledger.record(Charge("pure", 0.5, 0.0, 0.0, "b", adjacency="add_remove"))
    assert len(ledger.history_) == 1


def test_copies_are_the_same_ledger_and_pickles_are_closed():
    ledger = PrivacyAccountant(1.0)
    assert copy.copy(ledger) is ledger
    assert copy.deepcopy(ledger) is ledger
    est = SparseVector(0.5, epsilon=0.5, sensitivity=0.1, accountant=ledger)
    assert clone(est).accountant is ledger
    ledger.spend(epsilon=0.25)
    back = pickle.loads(pickle.dumps(ledger))
    assert back.total() == ledger.total()
    with pytest.raises(PrivacyBudgetError, match="copy made by pickling"):
        back.spend(epsilon=0.1)
    moved = PrivacyAccountant.from_dict(json.loads(json.dumps(ledger.to_dict())))
    moved.spend(epsilon=0.75)
    assert moved.remaining.epsilon == 0.0


def test_the_end_of_a_block_closes_the_ledger():
    with PrivacyAccountant(1.0) as ledger:
        ledger.spend(epsilon=0.5)
    with pytest.raises(PrivacyBudgetError, match="`with` block has ended"):
        ledger.spend(epsilon=0.1)
    assert "spent epsilon=0.5" in repr(ledger)


def test_threads_cannot_overspend():
    ledger = PrivacyAccountant(1.0)

    def spend(_):
        try:
            ledger.spend(epsilon=0.01)
        except PrivacyBudgetError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(300))) == 100


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"epsilon": 0}, "epsilon must be positive"),
        ({"epsilon": -1.0}, "epsilon must be positive"),
        ({"epsilon": math.inf}, "epsilon must be finite"),
        ({"epsilon": math.nan}, "epsilon must be finite"),
        ({"epsilon": "1"}, "epsilon must be a number"),
        ({"epsilon": 1.0, "delta": 1.0}, r"delta must be in \[0, 1\)"),
        ({"epsilon": 1.0, "delta": -0.1}, "delta must be at least 0"),
        ({"epsilon": 1.0, "delta": math.nan}, "delta must be finite"),
        ({"epsilon": 1.0, "composition": "advanced"}, "composition must be one of"),
        ({"epsilon": 1.0, "composition": "zcdp"}, "needs delta > 0"),
        ({"epsilon": 1.0, "composition": "optimal"}, "needs delta > 0"),
    ],
)
def test_impossible_budgets(arguments, match):
    with pytest.raises(ValueError, match=match):
        PrivacyAccountant(**arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "needs epsilon= or rho="),
        ({"epsilon": 0.1, "rho": 0.1}, "and not both"),
        ({"epsilon": 0}, "epsilon must be positive"),
        ({"rho": math.inf}, "rho must be finite"),
        ({"rho": 0.1, "delta": 1e-9}, "goes without delta"),
        ({"epsilon": 0.1, "kind": "laplace"}, "kind must be one of"),
        ({"epsilon": 0.1, "delta": 1e-9, "kind": "pure"}, "about pure charges"),
        ({"epsilon": 0.1, "delta": 2}, "delta must be in"),
    ],
)
def test_impossible_charges(arguments, match):
    ledger = PrivacyAccountant(1.0, delta=1e-6)
    with pytest.raises(ValueError, match=match):
        ledger.spend(**arguments)
    assert ledger.history_.empty


def test_conversions_at_their_ends():
    assert accounting.zcdp_to_epsilon(0.0, 1e-6) == 0.0
    assert accounting.zcdp_to_epsilon(0.1, 0.0) == math.inf
    assert accounting.zcdp_for(1.0, 0.0) == 0.0
    assert accounting.optimal_epsilon(0, 0.1, 1e-6) == 0.0
    assert accounting.gaussian_zcdp(1.0, 2.0) == 0.125
    assert PrivacyAccountant(1.0).total() == PrivacyCost(0.0, 0.0)


@pytest.mark.parametrize("composition", ["basic", "zcdp"])
def test_a_long_ledger_is_exact_and_quick(composition):
    """A million charges of a millionth cannot drift; here the sums after 3,000 of them."""
    ledger = PrivacyAccountant(4.0, delta=1e-6, composition=composition)
    for _ in range(3_000):
        ledger.spend(epsilon=0.001)
    sums = ledger._sums
    assert float(sums.epsilon) == math.fsum([0.001] * 3_000)
    assert float(sums.zcdp) == math.fsum([accounting.pure_to_zcdp(0.001)] * 3_000)
