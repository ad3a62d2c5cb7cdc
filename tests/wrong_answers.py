"""Wrong answers to each exercise, which its check must refuse: the misconception that the objective is about, a constant, an ignored input.

The key is the exercise's grade id; each value is code that stands in place of the solution, between its two markers.
"""

WRONG_ANSWERS: dict[str, list[str]] = {
    "exercise-1-1": [
        # takes the whole loss for the serial share, as if one worker had lost it
        "return 1 / speedup",
        # takes what is missing from the ideal for the serial share
        "return 1 - speedup / workers",
        # the share of the lesson's job
        "return 0.2",
        # rounds to whole per cents
        "return round((1 / speedup - 1 / workers) / (1 - 1 / workers), 2)",
    ],
    "exercise-1-2": [
        # enough for the work, but not for the promise
        "return int(arrivals * service_s) + 1",
        # keeps the promise in the mean, whatever the share
        """
servers = int(arrivals * service_s) + 1
while laws.mean_wait(arrivals, service_s, servers) > limit_s:
    servers += 1
return servers
""",
        # runs at 80 %, as everybody does
        "return int(np.ceil(arrivals * service_s / 0.8))",
        # does not look at the limit
        """
servers = int(arrivals * service_s) + 1
while laws.wait_percentile(share, arrivals, service_s, servers) > 0.5:
    servers += 1
return servers
""",
        # begins one server too high
        """
servers = int(np.ceil(arrivals * service_s)) + 1
while laws.wait_percentile(share, arrivals, service_s, servers) > limit_s:
    servers += 1
return servers
""",
        # believes that a hundred are enough for anybody
        """
for servers in range(int(arrivals * service_s) + 1, 100):
    if laws.wait_percentile(share, arrivals, service_s, servers) <= limit_s:
        return servers
""",
        # at most is read as less than
        """
servers = int(arrivals * service_s) + 1
while laws.wait_percentile(share, arrivals, service_s, servers) >= limit_s:
    servers += 1
return servers
""",
        # rounds the servers that the work needs
        """
servers = round(arrivals * service_s) + 1
while laws.wait_percentile(share, arrivals, service_s, servers) > limit_s:
    servers += 1
return servers
""",
    ],
    "exercise-1-3": [
        # each row counts alike, however long it lasted
        """
total = log["at"].iloc[-1] - log["at"].iloc[0]
return float(laws.little(number=log["waiting"].mean(), rate=arrivals / total))
""",
        # gives each number the time that was before it
        """
total = log["at"].iloc[-1] - log["at"].iloc[0]
number = (log["waiting"] * log["at"].diff()).sum() / total
return float(laws.little(number=number, rate=arrivals / total))
""",
        # the number in the queue, without the rate
        """
total = log["at"].iloc[-1] - log["at"].iloc[0]
return float((log["waiting"] * log["at"].diff().shift(-1)).sum() / total)
""",
        # the result of the small log
        "return 2.0",
        # gives the last row a second of its own
        """
lasted = log["at"].diff().shift(-1).fillna(1)
return float((log["waiting"] * lasted).sum() / arrivals)
""",
    ],
    "exercise-1-4": [
        # a bigger machine is believed to make everything faster
        """
cheaper = costs.compare_costs(demand, fit=fit)["cheaper"].iloc[0]
return "horizontal" if cheaper == "equal" else cheaper
""",
        # does not ask for the price: out, as long as it goes
        """
if demand > limit:
    return "neither"
row = costs.compare_costs(demand, fit=fit).iloc[0]
return "horizontal" if np.isfinite(row["horizontal"]) else "vertical" if np.isfinite(row["vertical"]) else "neither"
""",
        # the cloud is horizontal
        'return "horizontal"',
        # what shares anything goes big
        'return "neither" if demand > limit else "horizontal" if fit.alpha < 0.1 and fit.beta < 0.01 else "vertical"',
        # takes the limit itself for too much
        """
if demand >= limit:
    return "neither"
cheaper = costs.compare_costs(demand, fit=fit)["cheaper"].iloc[0]
return "horizontal" if cheaper == "equal" else cheaper
""",
        # takes two ways that lead nowhere for two that cost the same
        """
if demand > limit:
    return "neither"
row = costs.compare_costs(demand, fit=fit).iloc[0]
return "horizontal" if row["horizontal"] <= row["vertical"] else "vertical"
""",
    ],
    "exercise-1-5": [
        # asks the curve, which is right half of the time
        """
numbers = np.arange(1, max(workers) + 1)
enough = numbers[fitting.fit_usl(workers, throughput).predict(numbers) >= demand]
return int(enough[0]) if len(enough) else None
""",
        # the first measured number that was fast enough, once
        """
enough = [int(n) for n, x in zip(workers, throughput, strict=True) if x >= demand]
return enough[0] if enough else None
""",
        # goes beyond what was measured
        """
numbers = np.arange(1, 100)
enough = numbers[fitting.fit_usl(workers, throughput).band(numbers)[0] >= demand]
return int(enough[0]) if len(enough) else None
""",
        # takes the upper end of the band
        """
numbers = np.arange(1, max(workers) + 1)
enough = numbers[fitting.fit_usl(workers, throughput).band(numbers)[1] >= demand]
return int(enough[0]) if len(enough) else None
""",
        # the peak, whatever is asked for
        "return round(fitting.fit_usl(workers, throughput).peak_workers)",
        # searches the band as if it never fell
        """
lower, _ = fitting.fit_usl(workers, throughput).band(np.arange(1, max(workers) + 1))
at = int(np.searchsorted(lower, demand))
return at + 1 if at < len(lower) else None
""",
        # begins at the smallest number that was measured
        """
numbers = np.arange(min(workers), max(workers) + 1)
enough = numbers[fitting.fit_usl(workers, throughput).band(numbers)[0] >= demand]
return int(enough[0]) if len(enough) else None
""",
        # stops at the whole number below the peak
        """
fit = fitting.fit_usl(workers, throughput)
numbers = np.arange(1, int(min(max(workers), fit.peak_workers)) + 1)
enough = numbers[fit.band(numbers)[0] >= demand]
return int(enough[0]) if len(enough) else None
""",
    ],
    "exercise-2-1": [
        # takes for each worker the time from its own first start to its own last end
        """\
    seconds = (events["end"] - events["start"]).groupby(events["worker"]).sum()
    spans = events.groupby("worker")["end"].max() - events.groupby("worker")["start"].min()
    return (seconds / spans).to_dict()
""",
        # the shares of this table
        'return {"w1": 0.95, "w2": 0.45}',
        # the share of all busy time, and not of the time that passed
        """\
    seconds = (events["end"] - events["start"]).groupby(events["worker"]).sum()
    return (seconds / seconds.sum()).to_dict()
""",
        # ends the clock when the last task starts
        """\
    seconds = (events["end"] - events["start"]).groupby(events["worker"]).sum()
    return (seconds / (events["start"].max() - events["start"].min())).to_dict()
""",
        # takes the length of this table for every table's
        'return ((events["end"] - events["start"]).groupby(events["worker"]).sum() / 10).to_dict()',
        # takes the task that started last for the one that ended last
        """
events = events.sort_values("start")
seconds = (events["end"] - events["start"]).groupby(events["worker"]).sum()
return (seconds / (events["end"].iloc[-1] - events["start"].iloc[0])).to_dict()
""",
    ],
    "exercise-2-2": [
        # threads are taken for processes
        """
at_once = workers * concurrency
return {"waiting": at_once, "computing": min(cores, at_once), "cut off": concurrency, "left": workers - 1}
""",
        # a kill takes everything down
        """
at_once, processes = workers * concurrency, workers * (concurrency if kind == "prefork" else 1)
return {"waiting": at_once, "computing": min(cores, processes), "cut off": at_once, "left": 0}
""",
        # does not look at the cores
        """
at_once, processes = workers * concurrency, workers * (concurrency if kind == "prefork" else 1)
return {"waiting": at_once, "computing": processes, "cut off": concurrency, "left": workers - 1}
""",
        # the four workers of the lesson
        'return {"waiting": 4, "computing": 2, "cut off": 1, "left": 3}',
        # threads of several processes are believed to need no cores
        """
computing = workers if kind == "threads" else min(cores, workers * concurrency)
return {"waiting": workers * concurrency, "computing": computing, "cut off": concurrency, "left": workers - 1}
""",
    ],
    "exercise-2-3": [
        # nothing arrives any more while the queue is emptied
        """
grows, done = arrivals - 1 / service_s, workers / service_s
if grows <= 0:
    return 0.0
return None if done <= arrivals else grow_s + grows * grow_s / done
""",
        # counts from the scaling up, not from the start
        """
grows, shrinks = arrivals - 1 / service_s, workers / service_s - arrivals
if grows <= 0:
    return 0.0
return None if shrinks <= 0 else grows * grow_s / shrinks
""",
        # the queue is believed to empty under any load
        """
grows, shrinks = arrivals - 1 / service_s, workers / service_s - arrivals
return 0.0 if grows <= 0 else grow_s + grows * grow_s / (abs(shrinks) or 1)
""",
        # the lesson's queue
        "return 4.5",
        # a queue that stays empty is thought to grow
        """
if arrivals < 1 / service_s:
    return 0.0
grows, shrinks = arrivals - 1 / service_s, workers / service_s - arrivals
return grow_s + grows * grow_s / shrinks if shrinks > 0 else None
""",
        # counts whole tasks a second only
        """
grows, shrinks = arrivals - 1 // service_s, workers // service_s - arrivals
if grows <= 0:
    return 0.0
return grow_s + grows * grow_s / shrinks if shrinks > 0 else None
""",
    ],
    "exercise-2-4": [
        # forgets the task that nobody has begun: it has no row
        """\
    words = {}
    for task, rows in events.groupby("task"):
        if "done" in set(rows["outcome"]):
            words[task] = "repeated" if len(rows) > 1 else "completed"
        else:
            words[task] = "unacknowledged" if task in unacknowledged else "lost"
    return words
""",
        # the fates of these tasks
        """\
    words = ["completed", "repeated", "lost", "unacknowledged", "unacknowledged", "completed"]
    return dict(zip(sent, words))
""",
        # takes what the broker still keeps for not done
        """\
    done, again = set(events["task"][events["outcome"] == "done"]), set(events["task"][events["try"] > 1])
    return {
        task: "unacknowledged" if task in unacknowledged
        else "repeated" if task in done & again else "completed" if task in done else "lost"
        for task in sent
    }
""",
        # a failure is an end, so the task is called completed
        """\
    ended = set(events["task"][events["outcome"].isin(["done", "failure"])])
    again = set(events["task"][events["try"] > 1])
    return {
        task: ("repeated" if task in again else "completed") if task in ended
        else "unacknowledged" if task in unacknowledged else "lost"
        for task in sent
    }
""",
        # takes each failure for a loss, although the broker still keeps the task
        """\
    fates = {}
    for task in sent:
        outcomes = list(events["outcome"][events["task"] == task])
        if "done" in outcomes:
            fates[task] = "repeated" if len(outcomes) > 1 else "completed"
        else:
            fates[task] = "unacknowledged" if task in unacknowledged and "failure" not in outcomes else "lost"
    return fates
""",
        # calls a task repeated that was begun twice and never done
        """
done, again = set(events["task"][events["outcome"] == "done"]), set(events["task"][events["try"] > 1])
return {
    task: "completed" if task in done - again
    else "unacknowledged" if task in unacknowledged - done
    else "repeated" if task in again else "lost"
    for task in sent
}
""",
    ],
    "exercise-2-5": [
        # takes late acknowledgement for enough
        """\
    if not may_be_lost and not may_be_repeated:
        raise ValueError("impossible")
    return settings.Delivery(late=may_be_repeated, visibility_timeout=2 * longest_s)
""",
        # an hour for every task
        """\
    if not may_be_lost and not may_be_repeated:
        raise ValueError("impossible")
    return settings.Delivery(
        late=may_be_repeated, reject_on_worker_lost=may_be_repeated, visibility_timeout=3600, restore_interval=1.0
    )
""",
        # forgets that a task taken in advance waits, too
        """\
    if may_be_repeated:
        return settings.Delivery(
            late=True, reject_on_worker_lost=True, visibility_timeout=2 * longest_s, restore_interval=1.0
        )
    if may_be_lost:
        return settings.Delivery(visibility_timeout=1.0)
    raise ValueError("impossible")
""",
        # promises what cannot be kept
        """\
    return settings.Delivery(
        late=may_be_repeated, reject_on_worker_lost=True, visibility_timeout=2 * longest_s, restore_interval=1.0
    )
""",
        # leaves the default where nothing may be repeated
        """\
    if may_be_repeated:
        return settings.Delivery(
            late=True, reject_on_worker_lost=True, visibility_timeout=2 * longest_s, restore_interval=1.0
        )
    if may_be_lost:
        return settings.EARLY
    raise ValueError("impossible")
""",
        # a minute on top, whatever a task takes
        """\
    if not may_be_lost and not may_be_repeated:
        raise ValueError("impossible")
    return settings.Delivery(
        late=may_be_repeated, reject_on_worker_lost=may_be_repeated,
        visibility_timeout=longest_s + 60, restore_interval=1.0,
    )
""",
        # a second on top, which is more than ten times the longest task
        """
if not may_be_lost and not may_be_repeated:
    raise ValueError("impossible")
return settings.Delivery(
    late=may_be_repeated, reject_on_worker_lost=may_be_repeated,
    visibility_timeout=longest_s + 1, restore_interval=1.0,
)
""",
    ],
    "exercise-2-6": [
        # marks the payment as done before it is
        """\
    if ("done", payment) in store:
        return
    store["done", payment] = True
    store[source, "all"] = store.get((source, "all"), 0) - cents
    store[target, "all"] = store.get((target, "all"), 0) + cents
""",
        # marks the payment as done after it is
        """\
    if ("done", payment) not in store:
        store[source, "all"] = store.get((source, "all"), 0) - cents
        store[target, "all"] = store.get((target, "all"), 0) + cents
        store["done", payment] = True
""",
        # reads, adds and writes
        """\
    store[source, "all"] = store.get((source, "all"), 0) - cents
    store[target, "all"] = store.get((target, "all"), 0) + cents
""",
        # one entry an account: the next payment writes over it
        """\
    store[source, "last"] = -cents
    store[target, "last"] = cents
""",
        # takes the amount for an id
        """\
    store[source, target, cents] = -cents
    store[target, source, cents] = cents
""",
        # believes two entries to be one write
        "store |= {(source, payment): -cents, (target, payment): cents}",
        # plans balances, and writes them over what another payment has changed in the meantime
        """
if ("plan", payment) not in store:
    changes = {source: -cents, target: cents}
    store["plan", payment] = {name: balance(store, name) + change for name, change in changes.items()}
for name, after in store["plan", payment].items():
    store[name, "all"] = after
""",
    ],
    "exercise-3-1": [
        # the length of the queue is taken for the wait
        """
if work > patience:
    return 0
if rate <= capacity:
    return float("inf")
return (patience - work) / (rate - capacity)
""",
        # forgets that the work takes its time as well
        """
if work > patience:
    return 0
return patience * capacity / (rate - capacity) if rate > capacity else float("inf")
""",
        # never looks whether there is an overload
        "return (patience - work) / (rate / capacity - 1) if rate != capacity else float('inf')",
        # an overload is too late at once
        'return 0 if rate > capacity else float("inf")',
        # just in time is taken for too late
        """
if work >= patience:
    return 0
return (patience - work) * capacity / (rate - capacity) if rate > capacity else float("inf")
""",
        # of the lesson's service
        'return 1.1 / (rate / 10 - 1) if rate > 10 else float("inf")',
    ],
    "exercise-3-2": [
        # takes the patience for the wait alone
        "return slots * (patience_ms // work_ms)",
        # what the service does in that time, the first requests included
        "return slots * patience_ms // work_ms - slots",
        # one slot
        "return max(0, patience_ms // work_ms - 1)",
        # the lesson's bound
        "return 4",
        # no bound below 0
        "return slots * (patience_ms // work_ms - 1)",
        # nobody may wait
        "return 0",
    ],
    "exercise-3-3": [
        # layers add up
        """
tries = 1
for most, budget in layers:
    tries += (most if budget is None else min(most, 1 + budget)) - 1
return rate * tries > capacity
""",
        # budgets are not seen
        """
for tries, _ in layers:
    rate *= tries
return rate > capacity
""",
        # a budget replaces the limit
        """
for tries, budget in layers:
    rate *= tries if budget is None else 1 + budget
return rate > capacity
""",
        # as many as it can do is taken for too many
        """
for tries, budget in layers:
    rate *= tries if budget is None else min(tries, 1 + budget)
return rate >= capacity
""",
        # a budget of 0 is taken for none
        """
for tries, budget in layers:
    rate *= min(tries, 1 + budget) if budget else tries
return rate > capacity
""",
        # retries are believed to go away
        "return rate > capacity",
        # any retry without a budget is a storm
        "return any(tries > 1 and budget is None for tries, budget in layers) or rate > capacity",
        # only the last layer counts
        """
tries, budget = layers[-1] if layers else (1, None)
return rate * (tries if budget is None else min(tries, 1 + budget)) > capacity
""",
    ],
    "exercise-3-4": [
        # the average
        "return partitions * capacity",
        # the largest key, without its neighbours
        "return capacity / max(share / partitions if key in split else share for key, share in shares.items())",
        # nothing is split
        """
parts = [0.0] * partitions
for key, share in shares.items():
    parts[key % partitions] += share
return capacity / max(parts)
""",
        # what is split is gone
        """
parts = [0.0] * partitions
for key, share in shares.items():
    parts[key % partitions] += 0 if key in split else share
return capacity / max(max(parts), 1e-9)
""",
        # stays where it was, with a part of its load
        """
parts = [0.0] * partitions
for key, share in shares.items():
    parts[key % partitions] += share / partitions if key in split else share
return capacity / max(parts)
""",
    ],
    "exercise-3-5": [
        # the lesson's rule: an old queue is today's load
        "return max(1, -(-queue // 2))",
        # a slower one of the same kind
        "return max(1, -(-queue // 8))",
        # what comes, and nothing for what waits
        "return max(1, -(-rate // 4))",
        # always enough
        "return 7",
        # one more each second, as long as something waits
        "return ready + starting + (1 if queue else -1)",
        # never down again
        "return max(ready + starting, 1, -(-(rate + queue / 10) // 4))",
        # the whole queue within a second
        "return max(1, -(-(rate + queue) // 4))",
        # does not look at what comes
        "return ready + starting + (queue > 20) - (queue == 0)",
    ],
    "exercise-4-1": [
        # stops at the first error
        """
label = record.get("schema_version", 1)
if type(label) is not int or label not in versioning.USERS.versions:
    return {"schema_version": "unknown version"}
for field in versioning.USERS.schema(label):
    if problem := field.problem(record.get(field.name, versioning.schema.MISSING)):
        return {field.name: problem.partition(" (")[0]}
return {}
""",
        # takes an absent field for one that is None
        """
label = record.get("schema_version", 1)
if type(label) is not int or label not in versioning.USERS.versions:
    return {"schema_version": "unknown version"}
problems = {field.name: field.problem(record.get(field.name)) for field in versioning.USERS.schema(label)}
return {name: problem.partition(" (")[0] for name, problem in problems.items() if problem}
""",
        # asks the newest schema, whatever the record says of itself
        """
problems = {
    field.name: field.problem(record.get(field.name, versioning.schema.MISSING))
    for field in versioning.USERS.schema(versioning.USERS.latest)
}
return {name: problem.partition(" (")[0] for name, problem in problems.items() if problem}
""",
        # lets True and 3.0 pass for the numbers that they equal
        """
label = record.get("schema_version", 1)
if label not in versioning.USERS.versions:
    return {"schema_version": "unknown version"}
absent = versioning.schema.MISSING
problems = {field.name: field.problem(record.get(field.name, absent)) for field in versioning.USERS.schema(int(label))}
return {name: problem.partition(" (")[0] for name, problem in problems.items() if problem}
""",
        # leaves the details in the reason, so that no two are alike
        """
label = record.get("schema_version", 1)
if type(label) is not int or label not in versioning.USERS.versions:
    return {"schema_version": "unknown version"}
absent = versioning.schema.MISSING
problems = {field.name: field.problem(record.get(field.name, absent)) for field in versioning.USERS.schema(label)}
return {name: problem for name, problem in problems.items() if problem}
""",
        # the example of the text
        'return {"id": "missing", "name": "null, but required"}',
        # takes an error apart at the last colon, which may stand in the value
        """
label = record.get("schema_version", 1)
if type(label) is not int or label not in versioning.USERS.versions:
    return {"schema_version": "unknown version"}

errors = [error.rpartition(": ") for error in versioning.DataVersionManager().validate_schema(record)["errors"]]
return {name: problem.partition(" (")[0] for name, _, problem in errors}
""",
    ],
    "exercise-4-2": [
        # takes 0, False and "" for empty
        """
filled, kept = {}, {}
for step in history.steps(record.get("schema_version", 1), target):
    add = step.operation
    if record.get(add.name):
        kept[add.name] = record[add.name]
    else:
        filled[add.name] = (record | filled)[add.copy_from] if add.copy_from else add.field().default
return filled, kept
""",
        # an upgrade sets what it adds, as in the naive manager
        """
filled = {}
for step in history.steps(record.get("schema_version", 1), target):
    add = step.operation
    filled[add.name] = (record | filled)[add.copy_from] if add.copy_from else add.field().default
return filled, {}
""",
        # a field that is there is kept, even if it is None
        """
filled, kept = {}, {}
for step in history.steps(record.get("schema_version", 1), target):
    add = step.operation
    if add.name in record:
        kept[add.name] = record[add.name]
    else:
        filled[add.name] = (record | filled)[add.copy_from] if add.copy_from else add.field().default
return filled, kept
""",
        # starts at version 1 with every record
        """
filled, kept = {}, {}
for step in history.steps(1, target):
    add = step.operation
    if record.get(add.name) is not None:
        kept[add.name] = record[add.name]
    else:
        filled[add.name] = (record | filled)[add.copy_from] if add.copy_from else add.field().default
return filled, kept
""",
        # always goes to the newest version
        """
filled, kept = {}, {}
for step in history.steps(record.get("schema_version", 1), history.latest):
    add = step.operation
    if record.get(add.name) is not None:
        kept[add.name] = record[add.name]
    else:
        filled[add.name] = (record | filled)[add.copy_from] if add.copy_from else add.field().default
return filled, kept
""",
        # copies what the record says, although it is None and filled in on the way
        """
filled, kept = {}, {}
for step in history.steps(record.get("schema_version", 1), target):
    add = step.operation
    if record.get(add.name) is not None:
        kept[add.name] = record[add.name]
    elif add.copy_from:
        filled[add.name] = record.get(add.copy_from, filled.get(add.copy_from))
    else:
        filled[add.name] = add.field().default
return filled, kept
""",
        # does what it should only say: it fills the record that it is given
        """
filled, kept = {}, {}
for step in history.steps(record.get("schema_version", 1), target):
    add = step.operation
    if record.get(add.name) is None:
        record[add.name] = filled[add.name] = record[add.copy_from] if add.copy_from else add.field().default
    else:
        kept[add.name] = record[add.name]
return filled, kept
""",
        # fills None in for a default of 0, False or ""
        """
filled, kept = {}, {}
for step in history.steps(record.get("schema_version", 1), target):
    add = step.operation
    if record.get(add.name) is not None:
        kept[add.name] = record[add.name]
    else:
        filled[add.name] = (record | filled)[add.copy_from] if add.copy_from else add.field().default or None
return filled, kept
""",
        # does not copy 0 and ""
        """
filled, kept = {}, {}
for step in history.steps(record.get("schema_version", 1), target):
    add = step.operation
    if record.get(add.name) is not None:
        kept[add.name] = record[add.name]
    elif add.copy_from:
        filled[add.name] = record.get(add.copy_from) or filled.get(add.copy_from)
    else:
        filled[add.name] = add.field().default
return filled, kept
""",
    ],
    "exercise-4-3": [
        # all that a step takes away is lost, if it is filled
        """
steps = history.steps(target, record.get("schema_version", 1))
names = [step.operation.name for step in steps]
return {name: record[name] for name in names if record[name] is not None}
""",
        # takes 0 and "" for nothing
        """
lost, again = {}, dict(record)
for step in history.steps(target, record.get("schema_version", 1)):
    add = step.operation
    again[add.name] = again[add.copy_from] if add.copy_from else add.field().default
    if record[add.name] and record[add.name] != again[add.name]:
        lost[add.name] = record[add.name]
return lost
""",
        # always goes down to version 1
        """
lost, again = {}, dict(record)
for step in history.steps(1, record.get("schema_version", 1)):
    add = step.operation
    again[add.name] = again[add.copy_from] if add.copy_from else add.field().default
    if record[add.name] != again[add.name]:
        lost[add.name] = record[add.name]
return lost
""",
        # forgets that a None can be lost, too
        """
lost, again = {}, dict(record)
for step in history.steps(target, record.get("schema_version", 1)):
    add = step.operation
    again[add.name] = again[add.copy_from] if add.copy_from else add.field().default
    if record[add.name] is not None and record[add.name] != again[add.name]:
        lost[add.name] = record[add.name]
return lost
""",
        # compares a copy with what the record holds, not with what the upgrade puts there
        """
lost = {}
for step in history.steps(target, record.get("schema_version", 1)):
    add = step.operation
    restored = record[add.copy_from] if add.copy_from else add.field().default
    if record[add.name] != restored:
        lost[add.name] = record[add.name]
return lost
""",
        # looks at each step on the way down by itself
        """
new, lost = dict(record), {}
for step in history.steps(record.get("schema_version", 1), target):
    add = step.operation
    value = new.pop(add.name)
    if value != (new[add.copy_from] if add.copy_from else add.field().default):
        lost[add.name] = value
return lost
""",
        # has the lesson's fields in mind
        'return {name: record[name] for name in ("email", "phone") if record.get(name) is not None}',
    ],
    "exercise-4-4": [
        # returns whatever came out, valid or not
        """
records, rest = [], []
for entry in quarantined:
    record = entry["raw"]
    if isinstance(record, dict) and isinstance(record.get("created_at"), str):
        records.append(record | {"created_at": record["created_at"].replace(" ", "T")})
    else:
        rest.append(entry)
return records, rest
""",
        # guesses: what can't be fixed becomes something valid
        """
start = {"id": "0", "name": "unknown", "created_at": "1970-01-01"}
return [start | {"id": str(entry["line"])} for entry in quarantined], []
""",
        # fixes one cause in each record, and never both
        """
records, rest, check = [], [], versioning.DataVersionManager().validate_schema
for entry in quarantined:
    raw = entry["raw"] if isinstance(entry["raw"], dict) else {}
    spaced = raw | {"created_at": str(raw.get("created_at")).replace(" ", "T")}
    labelled = raw | {"schema_version": 1} if raw.get("schema_version") == "1" else raw
    for fixed in (spaced, labelled):
        if check(fixed)["valid"]:
            records.append(fixed)
            break
    else:
        rest.append(entry)
return records, rest
""",
        # the only label that it has seen is "1", so it makes every one 1
        """
records, rest, check = [], [], versioning.DataVersionManager().validate_schema
for entry in quarantined:
    fixed = dict(entry["raw"]) if isinstance(entry["raw"], dict) else {}
    if isinstance(fixed.get("schema_version"), str):
        fixed["schema_version"] = 1
    if isinstance(fixed.get("created_at"), str):
        fixed["created_at"] = fixed["created_at"].replace(" ", "T")
    if check(fixed)["valid"]:
        records.append(fixed)
    else:
        rest.append(entry)
return records, rest
""",
        # what can't be fixed is dropped
        """
records, check = [], versioning.DataVersionManager().validate_schema
for entry in quarantined:
    fixed = dict(entry["raw"]) if isinstance(entry["raw"], dict) else {}
    if str(fixed.get("schema_version")).isdecimal():
        fixed["schema_version"] = int(fixed["schema_version"])
    if isinstance(fixed.get("created_at"), str):
        fixed["created_at"] = fixed["created_at"].replace(" ", "T")
    if check(fixed)["valid"]:
        records.append(fixed)
return records, []
""",
        # leaves all of it where it is
        "return [], list(quarantined)",
        # takes for a label whatever int() makes a number of
        """
records, rest = [], []
check = versioning.DataVersionManager().validate_schema
for e in quarantined:
    new = dict(e["raw"]) if isinstance(e["raw"], dict) else {}
    if "schema_version" in new:
        try:
            new["schema_version"] = int(new["schema_version"])
        except (ValueError, TypeError):
            pass
    c = new.get("created_at")
    if isinstance(c, str) and c[10:11] == " ":
        new["created_at"] = f"{c[:10]}T{c[11:]}"
    ok = check(new)["valid"]
    (records if ok else rest).append(new if ok else e)
return records, rest
""",
        # a space for the T is safe to fix in one field, so it fixes it in another
        """
records, rest = [], []
check = versioning.DataVersionManager().validate_schema
for e in quarantined:
    new = dict(e["raw"]) if isinstance(e["raw"], dict) else {}
    label = new.get("schema_version")
    if isinstance(label, str) and label.isdecimal():
        new["schema_version"] = int(label)
    for name in ("created_at", "updated_at"):
        if isinstance(new.get(name), str):
            new[name] = new[name].replace(" ", "T")
    ok = check(new)["valid"]
    (records if ok else rest).append(new if ok else e)
return records, rest
""",
        # takes each record for a dict
        """
records, rest, check = [], [], versioning.DataVersionManager().validate_schema
for entry in quarantined:
    fixed = dict(entry["raw"] or {})
    label, created = fixed.get("schema_version"), fixed.get("created_at")
    if isinstance(label, str) and label.isdecimal():
        fixed["schema_version"] = int(label)
    if isinstance(created, str) and created[10:11] == " ":
        fixed["created_at"] = f"{created[:10]}T{created[11:]}"
    ok = check(fixed)["valid"]
    (records if ok else rest).append(fixed if ok else entry)
return records, rest
""",
        # knows one form of a time only
        """
records, rest, check = [], [], versioning.DataVersionManager().validate_schema
for entry in quarantined:
    fixed = dict(entry["raw"]) if isinstance(entry["raw"], dict) else {}
    label, created = fixed.get("schema_version"), fixed.get("created_at")
    if isinstance(label, str) and label.isdecimal():
        fixed["schema_version"] = int(label)
    if isinstance(created, str) and len(created) == 19 and created[10] == " ":
        fixed["created_at"] = f"{created[:10]}T{created[11:]}"
    ok = check(fixed)["valid"]
    (records if ok else rest).append(fixed if ok else entry)
return records, rest
""",
    ],
    "exercise-4-5": [
        # searches among records that its author thought of: none of them is ahead
        """
records = st.fixed_dictionaries({"id": st.text(), "name": st.text(max_size=255), "created_at": st.dates().map(str)})

@SEARCH
@hypothesis.given(records)
def one_go_equals_two(record):
    before = dict(record)
    at_once = manager.upgrade_data(record, 3)
    assert manager.upgrade_data(manager.upgrade_data(record, 2), 3) == at_once
    assert record == before

one_go_equals_two()
""",
        # keeps no copy, so that the record is compared with itself
        """
times, report = st.dates().map(str), versioning.Report()
records = st.fixed_dictionaries(
    {"id": st.text(), "name": st.text(max_size=255), "created_at": times},
    optional={"email": st.text(max_size=255), "updated_at": times, "phone": st.text(max_size=50)},
)

@SEARCH
@hypothesis.given(records)
def one_go_equals_two(record):
    before = record
    half_way = manager.upgrade_data(record, 2, report=report)
    assert manager.upgrade_data(half_way, 3, report=report) == manager.upgrade_data(record, 3, report=report)
    assert record == before

one_go_equals_two()
""",
        # searches with the manager of the library, and not with the one that it is given
        """
times, report, sound = st.dates().map(str), versioning.Report(), versioning.DataVersionManager()
records = st.fixed_dictionaries(
    {"id": st.text(), "name": st.text(max_size=255), "created_at": times},
    optional={"email": st.text(max_size=255), "updated_at": times, "phone": st.text(max_size=50)},
)

@SEARCH
@hypothesis.given(records)
def one_go_equals_two(record):
    half_way = sound.upgrade_data(record, 2, report=report)
    assert sound.upgrade_data(half_way, 3, report=report) == sound.upgrade_data(record, 3, report=report)

one_go_equals_two()
""",
        # a record with a wrong label is none of version 1: sound managers refuse it
        """
records = st.fixed_dictionaries({"id": st.text(), "name": st.text(), "created_at": st.text()})

@SEARCH
@hypothesis.given(records)
def every_text_is_a_date(record):
    assert manager.validate_schema(record)["valid"]

every_text_is_a_date()
""",
        # finds something each time
        'raise AssertionError("found one")',
        # no search: two records that its author thought of
        """
report, plain = versioning.Report(), {"id": "7", "name": "Ana", "created_at": "2024-01-01"}
for record in (plain, plain | {"email": "a@example.com", "updated_at": "2025-01-01", "phone": "600"}):
    before = dict(record)
    half_way = manager.upgrade_data(record, 2, report=report)
    assert manager.upgrade_data(half_way, 3, report=report) == manager.upgrade_data(record, 3, report=report)
    assert record == before
""",
        # goes one way only: what was there is kept
        """
times, report = st.dates().map(str), versioning.Report()
records = st.fixed_dictionaries({"id": st.text(), "name": st.text(max_size=255), "created_at": times},
    optional={"email": st.text(max_size=255), "updated_at": times, "phone": st.text(max_size=50)})
@SEARCH
@hypothesis.given(records)
def prop(record):
    before = dict(record)
    up = manager.upgrade_data(record, 3, report=report)
    assert record == before
    for n, v in record.items():
        assert v is None or up[n] == v
    assert up["updated_at"]
prop()
""",
        # compares the keys of the record, not its values
        """
times, report = st.dates().map(str), versioning.Report()
records = st.fixed_dictionaries({"id": st.text(), "name": st.text(max_size=255), "created_at": times},
    optional={"email": st.text(max_size=255), "updated_at": times, "phone": st.text(max_size=50)})
@SEARCH
@hypothesis.given(records)
def prop(record):
    names = set(record)
    once = manager.upgrade_data(record, 3, report=report)
    twice = manager.upgrade_data(manager.upgrade_data(record, 2, report=report), 3, report=report)
    assert once == twice
    assert set(record) == names
prop()
""",
        # looks at its input after one of the two ways only
        """
times, report = st.dates().map(str), versioning.Report()
records = st.fixed_dictionaries({"id": st.text(), "name": st.text(max_size=255), "created_at": times},
    optional={"email": st.text(max_size=255), "updated_at": times, "phone": st.text(max_size=50)})
@SEARCH
@hypothesis.given(records)
def prop(record):
    before = dict(record)
    once = manager.upgrade_data(record, 3, report=report)
    assert record == before
    assert once == manager.upgrade_data(manager.upgrade_data(record, 2, report=report), 3, report=report)
prop()
""",
    ],
    "exercise-5-1": [
        # takes the directions for each other
        """
        backward = compatibility.judge(history, new, old).compatible
        forward = compatibility.judge(history, old, new).compatible
        if backward and forward:
            return "any"
        if backward:
            return "readers"
        return "writers" if forward else "expand"
        """,
        # on the safe side, always
        'return "expand"',
        # looks in one direction
        'return "any" if compatibility.judge(history, old, new).compatible else "expand"',
        # believes bare schemas, in which nobody sees that a value has moved
        """
        before, after = history.schema(old), history.schema(new)
        backward, forward = resolution.readable(after, before), resolution.readable(before, after)
        if backward and forward:
            return "any"
        if backward:
            return "readers"
        return "writers" if forward else "expand"
        """,
        # knows of the first two versions only
        """
        backward = compatibility.judge(history, 1, 2).compatible
        forward = compatibility.judge(history, 2, 1).compatible
        return {(1, 1): "any", (1, 0): "readers", (0, 1): "writers", (0, 0): "expand"}[backward, forward]
        """,
        # goes from neighbour to neighbour, as if compatibility were passed on
        """
        backward = all(compatibility.judge(history, v, v + 1).compatible for v in range(old, new))
        forward = all(compatibility.judge(history, v + 1, v).compatible for v in range(old, new))
        return {(1, 1): "any", (1, 0): "readers", (0, 1): "writers", (0, 0): "expand"}[backward, forward]
        """,
    ],
    "exercise-5-2": [
        # nullable: readers find None, which was not wanted
        """
        repaired = versioning.SchemaHistory(
            "users",
            first=versioning.USERS.schema(1),
            steps={
                2: [
                    versioning.AddField("email", "string", nullable=True, length=255),
                    versioning.AddField("updated_at", "timestamp", nullable=True),
                ],
                3: [versioning.AddField("phone", "string", nullable=True, length=50)],
            },
        )
        """,
        # repairs it in version 3: version 2 stays as it was
        """
        steps = {v: [step.operation for step in versioning.USERS.steps(v - 1, v)] for v in (2, 3)}
        late = versioning.AddField("updated_at", "timestamp", default="1970-01-01")
        steps[3] += [versioning.DropField("updated_at", default="1970-01-01"), late]
        repaired = versioning.SchemaHistory("users", first=versioning.USERS.schema(1), steps=steps)
        """,
        # a history with the right names, and nothing else of them
        """
        repaired = versioning.SchemaHistory(
            "users",
            first=versioning.USERS.schema(1),
            steps={
                2: [
                    versioning.AddField("email", "string", nullable=True),
                    versioning.AddField("updated_at", "timestamp", default="1970-01-01"),
                ],
                3: [versioning.AddField("phone", "string", nullable=True)],
            },
        )
        """,
        # the history as it is
        "repaired = versioning.USERS",
    ],
    "exercise-5-3": [
        # asks each version about its neighbour only: what BACKWARD does, year after year
        """
        oldest = reader
        while oldest > 1 and compatibility.judge(history, oldest - 1, oldest).compatible:
            oldest -= 1
        return oldest
        """,
        # does not stop at the first gap
        """
        return min(v for v in history.versions if compatibility.judge(history, v, reader).compatible)
        """,
        # the answer of the example
        "return min(reader, 2)",
        # takes the newest version for the reader
        """
        oldest = reader
        while oldest > 1 and compatibility.judge(history, oldest - 1, history.latest).compatible:
            oldest -= 1
        return oldest
        """,
        # takes "through the migration" for "directly"
        """
        oldest = reader
        while oldest > 1 and compatibility.judge(history, oldest - 1, reader).through_migration:
            oldest -= 1
        return oldest
        """,
        # believes bare schemas: an optional field with another name is read as None
        """
        oldest = reader
        while oldest > 1 and resolution.readable(history.schema(reader), history.schema(oldest - 1)):
            oldest -= 1
        return oldest
        """,
        # asks the reader, and each version about its neighbour, too
        """
        oldest = reader
        while oldest > 1 and all(compatibility.judge(history, oldest - 1, by).compatible for by in (oldest, reader)):
            oldest -= 1
        return oldest
""",
    ],
    "exercise-5-4": [
        # takes the migration for something that everybody has
        """
        verdict = compatibility.judge(history, wrote, built)
        if verdict.compatible:
            return "directly"
        return "migration" if verdict.through_migration else "no"
        """,
        # new code reads everything, old code nothing that is newer
        """
        if built == wrote:
            return "directly"
        return "migration" if built > wrote else "no"
        """,
        # does not ask which of the two is the reader
        """
        verdict = compatibility.judge(history, min(wrote, built), max(wrote, built))
        if verdict.compatible:
            return "directly"
        return "migration" if wrote < built and verdict.through_migration else "no"
        """,
        'return "migration"',
        # compares neighbours only: what each step allows, the whole way should allow
        """
        step = 1 if wrote < built else -1
        way = [compatibility.judge(history, v, v + step) for v in range(wrote, built, step)]
        if all(verdict.compatible for verdict in way):
            return "directly"
        return "migration" if wrote < built and all(verdict.through_migration for verdict in way) else "no"
        """,
        # takes the newest version for the one that has the migration
        """
        verdict = compatibility.judge(history, wrote, built)
        if verdict.compatible:
            return "directly"
        return "migration" if built == history.latest and verdict.through_migration else "no"
        """,
        # believes that each migration begins at version 1
        """
        verdict = compatibility.judge(history, wrote, built)
        if verdict.compatible:
            return "directly"
        return "migration" if wrote < built and compatibility.judge(history, 1, built).through_migration else "no"
""",
        # believes that each migration goes to the newest version
        """
        verdict = compatibility.judge(history, wrote, built)
        if verdict.compatible:
            return "directly"
        whole = compatibility.judge(history, wrote, history.latest)
        return "migration" if wrote < built and whole.through_migration else "no"
""",
    ],
    "exercise-5-5": [
        # trusts the default: readers of `after` read what `before` wrote, and find no phone number in it
        """
        return [(before, [before]), (before, [before, after]), (before, [after]), (after, [after])]
        """,
        # writes both forms, and moves all readers at one instant
        """
        both = resolution.expanded(before, after)
        return [(before, [before]), (both, [before]), (both, [after]), (after, [after])]
        """,
        # both services at once
        "return [(before, [before]), (after, [after])]",
        # a plan for one change only
        """
        history = versioning.SchemaHistory(
            "users",
            first=versioning.USERS.schema(3),
            steps={2: [versioning.SplitField("phone", ("country_code", "number"), " ")]},
        )
        old, new = history.schema(1), history.schema(2)
        both = resolution.expanded(old, new)
        return [(old, [old]), (both, [old]), (both, [old, new]), (both, [new]), (new, [new])]
        """,
        # keeps one old field, though two may change at once
        """
        dropped = [field for field in before if field.name not in after]
        both = versioning.Schema(*after, dropped[0])
        return [(before, [before]), (both, [before]), (both, [before, after]), (both, [after]), (after, [after])]
""",
    ],
    "exercise-6-1": [
        # counts only what takes the lock itself
        """\
    costs = [(lock, fixed + per_million * rows / 1e6) for lock, fixed, per_million in statements]
    return sum(cost for lock, cost in costs if lock == "exclusive")
""",
        # counts the whole transaction, also what comes before the lock
        """\
    costs = [fixed + per_million * rows / 1e6 for _, fixed, per_million in statements]
    return sum(costs) if any(lock == "exclusive" for lock, *_ in statements) else 0
""",
        # does not look at the rows
        """\
    first = [lock for lock, *_ in statements].index("exclusive") if "exclusive" in str(statements) else len(statements)
    return sum(fixed + per_million for _, fixed, per_million in statements[first:])
""",
        # the longest statement
        """\
    return max([fixed + per_million * rows / 1e6 for lock, fixed, per_million in statements if lock == "exclusive"], default=0)
""",
        # the example of the lesson: a millisecond and four seconds
        "return 4001",
        # counts whole milliseconds
        """
blocked, held = 0, False
for lock, fixed, per_million in statements:
    held = held or lock == "exclusive"
    blocked += held * (fixed + per_million * rows // 10**6)
return blocked
""",
    ],
    "exercise-6-2": [
        # takes all tries for one long wait, pauses included
        """\
    begin, done = at, None
    for _ in range(tries):
        wait = max([0, *(asks + seconds - at for asks, seconds in reports if asks <= at)])
        if wait <= timeout:
            done = at + wait
            break
        gave_up = at + timeout
        reports = [(gave_up if at < asks < gave_up else asks, seconds) for asks, seconds in reports]
        at = gave_up + pause
    end = gave_up if done is None else done
    return {"done": done, "longest": end - begin, "in all": end - begin}
""",
        # sees no queue: what asks while the change waits gets its lock
        """\
    done, blocked = None, []
    for _ in range(tries):
        wait = max([0, *(asks + seconds - at for asks, seconds in reports if asks <= at)])
        blocked.append(min(wait, timeout))
        if wait <= timeout:
            done = at + wait
            break
        at += timeout + pause
    return {"done": done, "longest": max(blocked), "in all": sum(blocked)}
""",
        # waits for reports that come later as well
        """\
    done, blocked = None, []
    for _ in range(tries):
        wait = max([0, *(asks + seconds - at for asks, seconds in reports)])
        blocked.append(min(wait, timeout))
        if wait <= timeout:
            done = at + wait
            break
        at += timeout + pause
    return {"done": done, "longest": max(blocked), "in all": sum(blocked)}
""",
        # as if there were no timeout
        """\
    wait = max([0, *(asks + seconds - at for asks, seconds in reports if asks <= at)])
    return {"done": at + wait, "longest": wait, "in all": wait}
""",
        # each try blocks for the whole timeout, and none succeeds
        'return {"done": None, "longest": timeout, "in all": tries * timeout}',
        # tries once
        """\
    wait = max([0, *(asks + seconds - at for asks, seconds in reports if asks <= at)])
    blocked = min(wait, timeout)
    return {"done": at + wait if wait <= timeout else None, "longest": blocked, "in all": blocked}
""",
        # knows the reports that hold the table and those in the queue, and forgets who asks in the pause
        """
done, blocked = None, []
ends = [a + s for a, s in reports if a <= at]
for _ in range(tries):
    wait = max([0, *(e - at for e in ends)])
    blocked.append(min(wait, timeout))
    if wait <= timeout:
        done = at + wait
        break
    over = at + timeout
    ends += [over + s for a, s in reports if at < a < over]
    at = over + pause
return {"done": done, "longest": max(blocked), "in all": sum(blocked)}
""",
        # what was queued begins one after another
        """
done, blocked = None, []

for _ in range(tries):
    wait = max([0, *(a + s - at for a, s in reports if a <= at)])
    blocked.append(min(wait, timeout))
    if wait <= timeout:
        done = at + wait
        break
    over = at + timeout
    new, free = [], over
    for a, s in reports:
        if at < a < over:
            new.append((free, s)); free += s
        else:
            new.append((a, s))
    reports = new
    at = over + pause
return {"done": done, "longest": max(blocked), "in all": sum(blocked)}
""",
        # believes that the list is in order of time
        """
done, blocked = None, []
for number in range(tries):
    wait = 0
    for asks, seconds in reports:
        if asks > at:
            break
        wait = max(wait, asks + seconds - at)
    blocked.append(min(wait, timeout))
    if wait <= timeout:
        done = at + wait
        break
    gave_up = at + timeout
    reports = [(gave_up if at < asks < gave_up else asks, seconds) for asks, seconds in reports]
    at = gave_up + pause
return {"done": done, "longest": max(blocked), "in all": sum(blocked)}
""",
        # only the first try has a queue
        """
done, blocked = None, []
for number in range(tries):
    wait = 0
    for asks, seconds in reports:
        if asks > at:
            continue
        wait = max(wait, asks + seconds - at)
    blocked.append(min(wait, timeout))
    if wait <= timeout:
        done = at + wait
        break
    gave_up = at + timeout
    reports = [(gave_up if number == 0 and at < asks < gave_up else asks, seconds) for asks, seconds in reports]
    at = gave_up + pause
return {"done": done, "longest": max(blocked), "in all": sum(blocked)}
""",
    ],
    "exercise-6-3": [
        # one statement for all rows
        """\
    filled = connection.execute("UPDATE users SET country = 'ES' WHERE country IS NULL").rowcount
    connection.commit()
    return filled
""",
        # batches, and one commit at the end
        """\
    last = connection.execute("SELECT max(id) FROM users").fetchone()[0] or 0
    filled = 0
    for number, low in enumerate(range(0, last, size)):
        if number == stop_after:
            break
        statement = "UPDATE users SET country = 'ES' WHERE id > ? AND id <= ? AND country IS NULL"
        filled += connection.execute(statement, (low, low + size)).rowcount
    connection.commit()
    return filled
""",
        # overwrites what the application wrote
        """\
    last = connection.execute("SELECT max(id) FROM users").fetchone()[0] or 0
    filled = 0
    for number, low in enumerate(range(0, last, size)):
        if number == stop_after:
            break
        statement = "UPDATE users SET country = 'ES' WHERE id > ? AND id <= ?"
        filled += connection.execute(statement, (low, low + size)).rowcount
        connection.commit()
    return filled
""",
        # a hundred a batch, whatever is asked for
        """\
    last = connection.execute("SELECT max(id) FROM users").fetchone()[0] or 0
    filled = 0
    for number, low in enumerate(range(0, last, 100)):
        if number == stop_after:
            break
        statement = "UPDATE users SET country = 'ES' WHERE id > ? AND id <= ? AND country IS NULL"
        filled += connection.execute(statement, (low, low + 100)).rowcount
        connection.commit()
    return filled
""",
        # leaves out the last batch, which is shorter
        """\
    last = connection.execute("SELECT max(id) FROM users").fetchone()[0] or 0
    filled = 0
    for number in range(last // size):
        if number == stop_after:
            break
        statement = "UPDATE users SET country = 'ES' WHERE id > ? AND id <= ? AND country IS NULL"
        filled += connection.execute(statement, (number * size, number * size + size)).rowcount
        connection.commit()
    return filled
""",
        # the numbers of the check's first run
        "return 189 if stop_after else 360",
        # as many ids as rows: the table has no gaps
        """
statement = "UPDATE users SET country = 'ES' WHERE id > ? AND id <= ? AND country IS NULL"
filled = batches = 0
last = connection.execute("SELECT count(*) FROM users").fetchone()[0] or 0
for low in range(0, last, size):
    if batches == stop_after:
        break
    n = connection.execute(statement, (low, low + size)).rowcount
    connection.commit()
    filled += n
    batches += 1
return filled
""",
        # a batch that fills nothing does not count
        """
statement = "UPDATE users SET country = 'ES' WHERE id > ? AND id <= ? AND country IS NULL"
filled = batches = 0
last = connection.execute("SELECT max(id) FROM users").fetchone()[0] or 0
for low in range(0, last, size):
    if batches == stop_after:
        break
    n = connection.execute(statement, (low, low + size)).rowcount
    if n:
        connection.commit()
        filled += n
        batches += 1
return filled
""",
        # takes an empty text for NULL
        """
last = connection.execute("SELECT max(id) FROM users").fetchone()[0] or 0
filled = 0
for number, low in enumerate(range(0, last, size)):
    if number == stop_after:
        break
    statement = "UPDATE users SET country = 'ES' WHERE id > ? AND id <= ? AND coalesce(country, '') = ''"
    filled += connection.execute(statement, (low, low + size)).rowcount
    connection.commit()
return filled
""",
    ],
    "exercise-6-4": [
        # fills while old code still writes, and drops while it still runs
        """\
history_6_4 = versioning.SchemaHistory(
    "users",
    first=versioning.USERS.schema(3),
    steps={2: [versioning.SplitField("phone", ("country_code", "number"), " ")]},
)
release_plan = [
    {"deploy": "writes old", "phases": []},
    {"deploy": "writes both", "phases": ["expand", "backfill"]},
    {"deploy": "reads new", "phases": []},
    {"deploy": "writes new", "phases": ["contract"]},
]
""",
        # "splits" by dropping one field and adding two empty ones
        """\
history_6_4 = versioning.SchemaHistory(
    "users",
    first=versioning.USERS.schema(3),
    steps={
        2: [
            versioning.DropField("phone"),
            versioning.AddField("country_code", "string", nullable=True),
            versioning.AddField("number", "string", nullable=True),
        ]
    },
)
release_plan = [
    {"deploy": "writes old", "phases": []},
    {"deploy": "writes both", "phases": ["expand"]},
    {"deploy": "reads new", "phases": ["backfill"]},
    {"deploy": "writes new", "phases": []},
    {"deploy": "writes new", "phases": ["contract"]},
]
""",
        # copies the whole phone into both halves
        """\
history_6_4 = versioning.SchemaHistory(
    "users",
    first=versioning.USERS.schema(3),
    steps={
        2: [
            versioning.AddField("country_code", "string", nullable=True, length=50, copy_from="phone"),
            versioning.RenameField("phone", "number"),
        ]
    },
)
release_plan = [
    {"deploy": "writes old", "phases": []},
    {"deploy": "writes both", "phases": ["expand"]},
    {"deploy": "reads new", "phases": ["backfill"]},
    {"deploy": "writes new", "phases": []},
    {"deploy": "writes new", "phases": ["contract"]},
]
""",
        # reads what is not filled yet
        """\
history_6_4 = versioning.SchemaHistory(
    "users",
    first=versioning.USERS.schema(3),
    steps={2: [versioning.SplitField("phone", ("country_code", "number"), " ")]},
)
release_plan = [
    {"deploy": "writes old", "phases": []},
    {"deploy": "writes both", "phases": ["expand"]},
    {"deploy": "reads new", "phases": []},
    {"deploy": "writes new", "phases": ["backfill"]},
    {"deploy": "writes new", "phases": ["contract"]},
]
""",
        # all in one release
        """\
history_6_4 = versioning.SchemaHistory(
    "users",
    first=versioning.USERS.schema(3),
    steps={2: [versioning.SplitField("phone", ("country_code", "number"), " ")]},
)
release_plan = [
    {"deploy": "writes old", "phases": []},
    {"deploy": "writes new", "phases": ["expand", "backfill", "contract"]},
]
""",
        # expands with the release of the text, which brings no phase
        """
history_6_4 = versioning.SchemaHistory(
    "users",
    first=versioning.USERS.schema(3),
    steps={2: [versioning.SplitField("phone", ("country_code", "number"), " ")]},
)
release_plan = [
    {"deploy": "writes old", "phases": ["expand"]},
    {"deploy": "writes both", "phases": []},
    {"deploy": "reads new", "phases": ["backfill"]},
    {"deploy": "writes new", "phases": []},
    {"deploy": "writes new", "phases": ["contract"]},
]
""",
    ],
    "exercise-6-5": [
        # no timeout: it waits for as long as somebody holds the table
        """\
for number in range(1, tries + 1):
    try:
        connection.execute(statement)
        return number
    except psycopg.errors.LockNotAvailable:
        pause()
""",
        # always three tries
        """\
before = connection.execute("SHOW lock_timeout").fetchone()[0]
connection.execute(f"SET lock_timeout = {timeout_ms}")
try:
    for number in range(1, 4):
        try:
            connection.execute(statement)
            return number
        except psycopg.errors.LockNotAvailable:
            if number < 3:
                pause()
finally:
    connection.execute(f"SET lock_timeout = '{before}'")
""",
        # pauses after the last try, too, and sets the timeout to none in the end
        """\
connection.execute(f"SET lock_timeout = {timeout_ms}")
try:
    for number in range(1, tries + 1):
        try:
            connection.execute(statement)
            return number
        except psycopg.errors.LockNotAvailable:
            pause()
finally:
    connection.execute("SET lock_timeout = 0")
""",
        # tries every error again
        """\
before = connection.execute("SHOW lock_timeout").fetchone()[0]
connection.execute(f"SET lock_timeout = {timeout_ms}")
found = None
for number in range(1, tries + 1):
    try:
        connection.execute(statement)
        found = number
        break
    except psycopg.Error:
        if number < tries:
            pause()
connection.execute(f"SET lock_timeout = '{before}'")
return found
""",
        # restores nothing when another error is raised
        """\
before = connection.execute("SHOW lock_timeout").fetchone()[0]
connection.execute(f"SET lock_timeout = {timeout_ms}")
found = None
for number in range(1, tries + 1):
    try:
        connection.execute(statement)
        found = number
        break
    except psycopg.errors.LockNotAvailable:
        if number < tries:
            pause()
connection.execute(f"SET lock_timeout = '{before}'")
return found
""",
    ],
    "exercise-7-1": [
        # believes that old code fails on new messages, too
        """
fates = {"right": 0, "incomplete": 0, "failed": 0}
for code, message in pairs:
    fates["right" if code == message or (upgrades if message < code else passes_on) else "failed"] += 1
return fates
""",
        # mixes the directions up
        """
fates = {"right": 0, "incomplete": 0, "failed": 0}
for code, message in pairs:
    wrong = {-1: not upgrades, 1: not passes_on, 0: False}[(code > message) - (code < message)]
    fates[("incomplete" if message < code else "failed") if wrong else "right"] += 1
return fates
""",
        # the upgrade is thought to help old code, too
        """
fates = {"right": 0, "incomplete": 0, "failed": 0}
for code, message in pairs:
    if code == message or upgrades:
        fates["right"] += 1
    else:
        fates["failed" if message < code else "right" if passes_on else "incomplete"] += 1
return fates
""",
        # leaves out a fate that nobody has
        """
from collections import Counter
return dict(Counter("right" if c == m or (upgrades if m < c else passes_on) else "failed" if m < c else "incomplete" for c, m in pairs))
""",
        # the numbers of the first try
        'return {"right": 3, "incomplete": 4, "failed": 3}',
    ],
    "exercise-7-2": [
        # a newer message is refused, by its history
        """
try:
    return "do", MANAGER_7_2.upgrade_data(message, version)
except ValueError as error:
    return "put aside", str(error)
""",
        # compares what is no number
        """
if not isinstance(message, dict):
    return "put aside", "no record"
own = message.get("schema_version", 1)
if isinstance(own, (int, float)) and own > version:
    return "pass on", f"v{own}"
try:
    return "do", MANAGER_7_2.upgrade_data(message, version)
except ValueError as error:
    return "put aside", str(error)
""",
        # downgrades what is newer
        """
if not isinstance(message, dict):
    return "put aside", "no record"
own = message.get("schema_version", 1)
if type(own) is int and own > 3:
    return "pass on", f"v{own}"
try:
    change = MANAGER_7_2.downgrade_data if type(own) is int and own > version else MANAGER_7_2.upgrade_data
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return "do", change(message, version)
except ValueError as error:
    return "put aside", str(error)
""",
        # upgrades to the newest version, whatever the code is
        """
if not isinstance(message, dict):
    return "put aside", "no record"
own = message.get("schema_version", 1)
if type(own) is int and own > version:
    return "pass on", f"v{own}"
try:
    return "do", MANAGER_7_2.upgrade_data(message, 3)
except ValueError as error:
    return "put aside", str(error)
""",
        # hands a message of its own version on unchecked
        """
if not isinstance(message, dict):
    return "put aside", "no record"
own = message.get("schema_version", 1)
if type(own) is int and own > version:
    return "pass on", f"v{own}"
if own == version:
    return "do", message
try:
    return "do", MANAGER_7_2.upgrade_data(message, version)
except ValueError as error:
    return "put aside", str(error)
""",
        # always the queue v2, as in the lesson
        """
if not isinstance(message, dict):
    return "put aside", "no record"
own = message.get("schema_version", 1)
if type(own) is int and own > version:
    return "pass on", "v2"
try:
    return "do", MANAGER_7_2.upgrade_data(message, version)
except ValueError as error:
    return "put aside", str(error)
""",
    ],
    "exercise-7-3": [
        # forgets what was taken in advance
        "return sum(seconds > grace_s for seconds in under_way)",
        # one child does all of them in turn
        """
at, late = 0, 0
for seconds in [*under_way, *taken]:
    at += seconds
    late += at > grace_s
return late
""",
        # divides the work evenly among the children
        """
late = sum(seconds > grace_s for seconds in under_way)
share = (sum(under_way) + sum(taken)) / len(under_way)
return late + (len(taken) if share > grace_s else 0)
""",
        # gives the messages to the children in turn, not to the one that is free
        """
ends = list(under_way)
free = list(under_way)
for number, seconds in enumerate(taken):
    free[number % len(free)] += seconds
    ends.append(free[number % len(free)])
return sum(end > grace_s for end in ends)
""",
        # what ends at the moment of SIGKILL counts as cut off
        """
free, ends = list(under_way), list(under_way)
for seconds in taken:
    child = free.index(min(free))
    free[child] += seconds
    ends.append(free[child])
return sum(end >= grace_s for end in ends)
""",
        # counts children, not messages
        """
free = list(under_way)
for seconds in taken:
    free[free.index(min(free))] += seconds
return sum(end > grace_s for end in free)
""",
        # never anything
        "return 0",
    ],
    "exercise-7-4": [
        # counts after the work, which a killed process never reaches
        """
name = message["id"]
if counts.get(name, 0) >= limit:
    dead.append({"message": message, "reason": "too often"})
    counts.pop(name, None)
    return
try:
    handle(message)
except Exception as error:
    dead.append({"message": message, "reason": str(error)})
    counts.pop(name, None)
    return
counts[name] = counts.get(name, 0) + 1
counts.pop(name, None)
""",
        # catches what nobody can catch
        """
name = message["id"]
counts[name] = counts.get(name, 0) + 1
if counts[name] > limit:
    dead.append({"message": message, "reason": "too often"})
else:
    try:
        handle(message)
    except BaseException as error:
        dead.append({"message": message, "reason": str(error)})
del counts[name]
""",
        # gives up one delivery too early
        """
name = message["id"]
counts[name] = counts.get(name, 0) + 1
if counts[name] >= limit:
    dead.append({"message": message, "reason": "too often"})
else:
    try:
        handle(message)
    except Exception as error:
        dead.append({"message": message, "reason": str(error)})
del counts[name]
""",
        # one counter for all messages
        """
counts["all"] = counts.get("all", 0) + 1
if counts["all"] > limit:
    dead.append({"message": message, "reason": "too often"})
else:
    try:
        handle(message)
    except Exception as error:
        dead.append({"message": message, "reason": str(error)})
counts.pop("all", None)
""",
        # tries again after an exception, too
        """
name = message["id"]
counts[name] = counts.get(name, 0) + 1
while counts[name] <= limit:
    try:
        handle(message)
        break
    except Exception:
        counts[name] += 1
else:
    dead.append({"message": message, "reason": "too often"})
del counts[name]
""",
        # never forgets a count
        """
name = message["id"]
counts[name] = counts.get(name, 0) + 1
if counts[name] > limit:
    dead.append({"message": message, "reason": "too often"})
    return
try:
    handle(message)
except Exception as error:
    dead.append({"message": message, "reason": str(error)})
""",
        # a limit of three, as in the lesson
        """
name = message["id"]
counts[name] = counts.get(name, 0) + 1
if counts[name] > 3:
    dead.append({"message": message, "reason": "too often"})
else:
    try:
        handle(message)
    except Exception as error:
        dead.append({"message": message, "reason": str(error)})
del counts[name]
""",
    ],
    "exercise-7-5": [
        # removes first: cut off in between, the letter is lost
        """
sent = 0
while dead:
    letter = dead.pop(0)
    if letter["id"] in done:
        continue
    try:
        send(letter)
    except ConnectionError:
        dead.insert(0, letter)
        break
    sent += 1
return sent
""",
        # changes the list that it goes through
        """
sent = set()
for letter in dead:
    if letter["id"] not in done | sent:
        try:
            send(letter)
        except ConnectionError:
            break
        sent.add(letter["id"])
    dead.remove(letter)
return len(sent)
""",
        # sends what was done already
        """
sent = 0
while dead:
    try:
        send(dead[0])
    except ConnectionError:
        break
    dead.pop(0)
    sent += 1
return sent
""",
        # clears the list in the end, whatever was sent
        """
sent = set()
for letter in dead:
    if letter["id"] in done | sent:
        continue
    try:
        send(letter)
    except ConnectionError:
        break
    sent.add(letter["id"])
dead.clear()
return len(sent)
""",
        # sends the same letter again when it comes twice
        """
sent = 0
while dead:
    letter = dead[0]
    if letter["id"] not in done:
        try:
            send(letter)
        except ConnectionError:
            break
        sent += 1
    dead.pop(0)
return sent
""",
        # goes on after the broker has gone
        """
sent, left = set(), []
for letter in list(dead):
    if letter["id"] in done | sent:
        dead.remove(letter)
        continue
    try:
        send(letter)
    except ConnectionError:
        left.append(letter)
        continue
    sent.add(letter["id"])
dead[:] = left[::-1]
return len(sent)
""",
    ],
    "exercise-8-1": [
        # catches up as if nothing arrived meanwhile
        """
lag = min(arrivals * outage_s, kept)
return {"lag": lag, "lost": arrivals * outage_s - lag, "caught_up_s": lag / capacity}
""",
        # does not know that a stream is trimmed
        """
lag = arrivals * outage_s
gains = capacity - arrivals
return {"lag": lag, "lost": 0, "caught_up_s": lag / gains if gains > 0 else 0.0 if not lag else None}
""",
        # believes that it always catches up
        """
lag = min(arrivals * outage_s, kept)
return {"lag": lag, "lost": arrivals * outage_s - lag, "caught_up_s": abs(lag / (capacity - arrivals or 1))}
""",
        # what was trimmed still has to be read
        """
missed = arrivals * outage_s
gains = capacity - arrivals
late = missed / gains if gains > 0 else None if missed else 0.0
return {"lag": missed, "lost": max(0, missed - kept), "caught_up_s": late}
""",
        # the outage of the lesson
        'return {"lag": 200, "lost": 0, "caught_up_s": 2 / 3}',
        # loses all when the stream is full
        """
missed = arrivals * outage_s
lag = missed if missed <= kept else 0
gains = capacity - arrivals
late = lag / gains if gains > 0 else None if lag else 0.0
return {"lag": lag, "lost": missed - lag, "caught_up_s": late}
""",
    ],
    "exercise-8-2": [
        # looks at the first step only
        """
if steps[0] in ("acknowledge", "mark"):
    return 0 if dies_after == 1 else 1
return 2 if dies_after == 1 and len(steps) > 1 and "and" not in steps[0] else 1
""",
        # each kill doubles: at least once, whatever the steps
        'return 1 if dies_after == len(steps) or "effect" not in steps[:dies_after] else 2',
        # a mark makes everything right
        """
if "mark" in " ".join(steps):
    return 1
done = steps[:dies_after]
return done.count("effect") + ("acknowledge" not in done)
""",
        # does not look at marks
        """
done = " and ".join(steps[:dies_after]).split(" and ")
return done.count("effect") + ("acknowledge" not in done)
""",
        # takes a transaction for two steps
        """
parts = " and ".join(steps).split(" and ")
done = parts[:dies_after]
return done.count("effect") + (not {"acknowledge", "mark"} & set(done))
""",
        # always once
        "return 1",
        # two steps in one transaction are not seen
        """
done = steps[:dies_after]
again = "acknowledge" not in done and "mark" not in done
return done.count("effect") + again * steps.count("effect")
""",
    ],
    "exercise-8-3": [
        # remembers in the process, which is gone after a kill
        """
seen = globals().setdefault("SEEN", set())
if (id(database), event["key"]) not in seen:
    database.execute("UPDATE balances SET cents = cents + ? WHERE account = ?", (event["cents"], event["account"]))
    database.commit()
    seen.add((id(database), event["key"]))
""",
        # no key at all: at least once
        """
add = "UPDATE balances SET cents = cents + ? WHERE account = ?"
database.execute(add, (event["cents"], event["account"]))
database.commit()
""",
        # the id of the stream as the key
        """
if database.execute("INSERT OR IGNORE INTO handled VALUES (?)", (event["id"],)).rowcount:
    add = "UPDATE balances SET cents = cents + ? WHERE account = ?"
    database.execute(add, (event["cents"], event["account"]))
database.commit()
""",
        # the key is committed first
        """
new = database.execute("INSERT OR IGNORE INTO handled VALUES (?)", (event["key"],)).rowcount
database.commit()
if new:
    add = "UPDATE balances SET cents = cents + ? WHERE account = ?"
    database.execute(add, (event["cents"], event["account"]))
    database.commit()
""",
        # the effect is committed first
        """
if not database.execute("SELECT 1 FROM handled WHERE key = ?", (event["key"],)).fetchone():
    add = "UPDATE balances SET cents = cents + ? WHERE account = ?"
    database.execute(add, (event["cents"], event["account"]))
    database.commit()
    database.execute("INSERT OR IGNORE INTO handled VALUES (?)", (event["key"],))
    database.commit()
""",
        # forgets to commit
        """
if database.execute("INSERT OR IGNORE INTO handled VALUES (?)", (event["key"],)).rowcount:
    add = "UPDATE balances SET cents = cents + ? WHERE account = ?"
    database.execute(add, (event["cents"], event["account"]))
""",
        # takes the content for the key
        """
key = f"{event['account']} {event['cents']}"
if database.execute("INSERT OR IGNORE INTO handled VALUES (?)", (key,)).rowcount:
    add = "UPDATE balances SET cents = cents + ? WHERE account = ?"
    database.execute(add, (event["cents"], event["account"]))
database.commit()
""",
        # sets the balance instead of adding
        """
if database.execute("INSERT OR IGNORE INTO handled VALUES (?)", (event["key"],)).rowcount:
    database.execute("UPDATE balances SET cents = ? WHERE account = ?", (event["cents"], event["account"]))
database.commit()
""",
        # the account of the example
        """
if database.execute("INSERT OR IGNORE INTO handled VALUES (?)", (event["key"],)).rowcount:
    database.execute("UPDATE balances SET cents = cents + ? WHERE account = 'ana'", (event["cents"],))
database.commit()
""",
    ],
    "exercise-8-4": [
        # whatever is older can be read
        """
found = {"direct": 0, "migrate": 0, "inspect": 0}
for writer, count in stored.items():
    found["direct" if writer <= reader else "migrate"] += count
return found
""",
        # looks at the latest version only
        """
verdict = compatibility.judge(history, max(stored), reader)
way = "direct" if verdict.compatible else "migrate" if verdict.through_migration else "inspect"
return {"direct": 0, "migrate": 0, "inspect": 0} | {way: sum(stored.values())}
""",
        # the mode that everybody uses, of the reader
        """
good = compatibility.check(history, reader, "BACKWARD").compatible
count = sum(stored.values())
return {"direct": count if good else 0, "migrate": 0 if good else count, "inspect": 0}
""",
        # a migration helps always
        """
found = {"direct": 0, "migrate": 0, "inspect": 0}
for writer, count in stored.items():
    found["direct" if compatibility.judge(history, writer, reader).compatible else "migrate"] += count
return found
""",
        # takes reader and writer for each other
        """
found = {"direct": 0, "migrate": 0, "inspect": 0}
for writer, count in stored.items():
    verdict = compatibility.judge(history, reader, writer)
    found["direct" if verdict.compatible else "migrate" if verdict.through_migration else "inspect"] += count
return found
""",
        # counts versions, not records
        """
found = {"direct": 0, "migrate": 0, "inspect": 0}
for writer in stored:
    verdict = compatibility.judge(history, writer, reader)
    found["direct" if verdict.compatible else "migrate" if verdict.through_migration else "inspect"] += 1
return found
""",
        # migrates whatever can be migrated
        """
found = {"direct": 0, "migrate": 0, "inspect": 0}
for writer, count in stored.items():
    verdict = compatibility.judge(history, writer, reader)
    found["migrate" if verdict.through_migration else "direct" if verdict.compatible else "inspect"] += count
return found
""",
        # the stream of the lesson
        'return {"direct": 400, "migrate": 200, "inspect": 0}',
    ],
    "exercise-8-5": [
        # deletes by the number: a second order with the same number is lost
        """
def place(database, order):
    database.execute("INSERT INTO orders VALUES (?)", (order,))
    database.execute("INSERT INTO outbox (number) VALUES (?)", (order,))
    database.commit()

def relay(database):
    for key, order in database.execute("SELECT id, number FROM outbox ORDER BY id").fetchall():
        database.publish(key, order)
        database.execute("DELETE FROM outbox WHERE number = ?", (order,))
        database.commit()

return place, relay
""",
        # a dual write: commit, then publish
        """
def place(database, order):
    database.execute("INSERT INTO orders VALUES (?)", (order,))
    database.commit()
    database.publish(order, order)

def relay(database):
    pass

return place, relay
""",
        # publish, then commit
        """
def place(database, order):
    database.execute("INSERT INTO orders VALUES (?)", (order,))
    database.publish(order, order)
    database.commit()

def relay(database):
    pass

return place, relay
""",
        # two transactions for the row and its event
        """
def place(database, order):
    database.execute("INSERT INTO orders VALUES (?)", (order,))
    database.commit()
    database.execute("INSERT INTO outbox (number) VALUES (?)", (order,))
    database.commit()

def relay(database):
    for key, order in database.execute("SELECT id, number FROM outbox ORDER BY id").fetchall():
        database.publish(key, order)
        database.execute("DELETE FROM outbox WHERE id = ?", (key,))
        database.commit()

return place, relay
""",
        # the relay deletes first
        """
def place(database, order):
    database.execute("INSERT INTO orders VALUES (?)", (order,))
    database.execute("INSERT INTO outbox (number) VALUES (?)", (order,))
    database.commit()

def relay(database):
    for key, order in database.execute("SELECT id, number FROM outbox ORDER BY id").fetchall():
        database.execute("DELETE FROM outbox WHERE id = ?", (key,))
        database.commit()
        database.publish(key, order)

return place, relay
""",
        # the relay never deletes
        """
def place(database, order):
    database.execute("INSERT INTO orders VALUES (?)", (order,))
    database.execute("INSERT INTO outbox (number) VALUES (?)", (order,))
    database.commit()

def relay(database):
    for key, order in database.execute("SELECT id, number FROM outbox ORDER BY id").fetchall():
        database.publish(key, order)

return place, relay
""",
        # a key of each publishing
        """
def place(database, order):
    database.execute("INSERT INTO orders VALUES (?)", (order,))
    database.execute("INSERT INTO outbox (number) VALUES (?)", (order,))
    database.commit()

def relay(database):
    for key, order in database.execute("SELECT id, number FROM outbox ORDER BY id").fetchall():
        database.publish(len(database.published), order)
        database.execute("DELETE FROM outbox WHERE id = ?", (key,))
        database.commit()

return place, relay
""",
        # the content as the key
        """
def place(database, order):
    database.execute("INSERT INTO orders VALUES (?)", (order,))
    database.execute("INSERT INTO outbox (number) VALUES (?)", (order,))
    database.commit()

def relay(database):
    for key, order in database.execute("SELECT id, number FROM outbox ORDER BY id").fetchall():
        database.publish(order, order)
        database.execute("DELETE FROM outbox WHERE id = ?", (key,))
        database.commit()

return place, relay
""",
        # one commit for all rows: a kill publishes them all again
        """
def place(database, order):
    database.execute("INSERT INTO orders VALUES (?)", (order,))
    database.execute("INSERT INTO outbox (number) VALUES (?)", (order,))
    database.commit()

def relay(database):
    for key, order in database.execute("SELECT id, number FROM outbox ORDER BY id").fetchall():
        database.publish(key, order)
        database.execute("DELETE FROM outbox WHERE id = ?", (key,))
    database.commit()

return place, relay
""",
        # without an outbox: publishes all orders again and again
        """
def place(database, order):
    database.execute("INSERT INTO orders VALUES (?)", (order,))
    database.commit()

def relay(database):
    for (order,) in database.execute("SELECT number FROM orders").fetchall():
        database.publish(order, order)

return place, relay
""",
        # nothing is committed
        """
def place(database, order):
    database.execute("INSERT INTO orders VALUES (?)", (order,))
    database.execute("INSERT INTO outbox (number) VALUES (?)", (order,))

def relay(database):
    for key, order in database.execute("SELECT id, number FROM outbox ORDER BY id").fetchall():
        database.publish(key, order)
        database.execute("DELETE FROM outbox WHERE id = ?", (key,))

return place, relay
""",
    ],
    "exercise-9-1": [
        # takes the order of the start for what is needed while it runs
        """\
    def needs(name):
        return {name}.union(*(needs(other) for other in services[name].get("depends_on", ())))

    needed = needs("scheduler") | needs("worker")
    return {"begins": stopped not in needed, "ends": stopped not in needed}
""",
        # what is needed to begin is thought to be needed to end
        """\
    def needs(name):
        return {name}.union(*(needs(other) for other in asked(services[name]).values()))

    needed = needs("scheduler") | needs("worker")
    return {"begins": stopped not in needed, "ends": stopped not in needed}
""",
        # sees only who is asked directly
        """\
    to_end = {"worker", asked(services["worker"])["REPORTS_TO"]}
    to_begin = {"scheduler", *asked(services["scheduler"]).values(), "worker", *asked(services["worker"]).values()}
    return {"begins": stopped not in to_begin, "ends": stopped not in to_end}
""",
        # a begun task is thought to need nobody
        """\
    def needs(name):
        return {name}.union(*(needs(other) for other in asked(services[name]).values()))

    return {"begins": stopped not in needs("scheduler") | needs("worker"), "ends": stopped != "worker"}
""",
        # the names of the lesson, whatever the file says
        'return {"begins": stopped == "watcher", "ends": stopped in ("scheduler", "broker", "queue", "watcher")}',
        # follows only the first address on the way to the end
        """\
    def needs(name):
        return {name}.union(*(needs(other) for other in asked(services[name]).values()))

    to_end, name = {"worker"}, asked(services["worker"])["REPORTS_TO"]
    while name:
        to_end.add(name)
        name = next(iter(asked(services[name]).values()), None)
    return {"begins": stopped not in needs("scheduler") | needs("worker"), "ends": stopped not in to_end}
""",
        # gives up after three services in a row
        """\
    def needs(name):
        found = {name}
        for _ in range(3):
            found |= {other for service in found for other in asked(services[service]).values()}
        return found

    to_end = {"worker"} | needs(asked(services["worker"])["REPORTS_TO"])
    return {"begins": stopped not in needs("scheduler") | needs("worker"), "ends": stopped not in to_end}
""",
    ],
    "exercise-9-2": [
        # runs it twice, and kills it nowhere
        "return run(task, run(task, store)) == run(task, store)",
        # kills it in the middle, and never after its last step
        """\
    once = run(task, store)
    rests = [run(task, store, steps) for steps in range(11)]
    return all(run(task, rest) == once for rest in rests if rest != once)
""",
        # asks only whether the second run ends without an error
        """\
    for steps in range(11):
        run(task, run(task, store, steps))
    return True
""",
        # counts, and does not compare
        """\
    once = run(task, store)
    return all(len(str(run(task, run(task, store, steps)))) == len(str(once)) for steps in range(11))
""",
        # trusts a mark
        'return "done" in run(task, store)',
        # kills it after the first step only
        "return run(task, run(task, store, 1)) == run(task, store)",
        # never kills a task of ten steps after its last one
        """\
    once = run(task, store)
    return all(run(task, run(task, store, steps)) == once for steps in range(10))
""",
        # does not see what a killed run has left beside the result
        """\
    once = run(task, store)
    agains = [run(task, run(task, store, steps)) for steps in range(11)]
    return all(again.get(name) == once[name] for again in agains for name in once)
""",
        # compares how the stores are written, so the order of keys counts
        """
once = str(run(task, store))
return all(str(run(task, run(task, store, steps))) == once for steps in range(11))
""",
    ],
    "exercise-9-3": [
        # believes that a run keeps its code wherever it comes from
        """\
    begin = min(starts.values())
    return dict.fromkeys(starts, changes[max(when for when in changes if when <= begin)])
""",
        # believes that every task loads the newest code at its start
        """\
    return {task: changes[max(when for when in changes if when <= start)] for task, start in starts.items()}
""",
        # gives a run from git the newest commit of all, not that of its start
        """\
    def at(moment):
        return changes[max(when for when in changes if when <= moment)]

    return {task: changes[max(changes)] if versions else at(start) for task, start in starts.items()}
""",
        # a change counts only after its own second
        """\
    def at(moment):
        return changes[max(when for when in changes if when < moment)]

    begin = min(starts.values())
    return {task: at(begin if versions else start) for task, start in starts.items()}
""",
        # takes the highest number so far for the newest code: no rollback
        """\
    def at(moment):
        return max(code for when, code in changes.items() if when <= moment)

    begin = min(starts.values())
    return {task: at(begin if versions else start) for task, start in starts.items()}
""",
        # trusts the order of the changes
        """\
    def at(moment):
        return [code for when, code in changes.items() if when <= moment][-1]

    begin = min(starts.values())
    return {task: at(begin if versions else start) for task, start in starts.items()}
""",
        # takes the first task of the dict for the first one of the run
        """\
    def at(moment):
        return changes[max(when for when in changes if when <= moment)]

    begin = next(iter(starts.values()))
    return {task: at(begin if versions else start) for task, start in starts.items()}
""",
        # the tasks of the lesson
        'return {"extract": 1, "transform": 1 if versions else 2, "load": 1 if versions else 2}',
    ],
    "exercise-9-4": [
        # trusts the order of the rows
        """\
    groups = tries.groupby("task")
    again = groups.size() > 1
    return (groups["end"].last() - groups["start"].first())[again].to_dict()
""",
        # takes the latest end, of whichever try
        """\
    groups = tries.groupby("task")
    again = groups.size() > 1
    return (groups["end"].max() - groups["start"].min())[again].to_dict()
""",
        # counts the work that was thrown away, and not the wait for the second try
        """\
    failed = tries[tries["state"] == "failed"]
    return (failed["end"] - failed["start"]).groupby(failed["task"]).sum().to_dict()
""",
        # takes the try that succeeded for the last one
        """\
    groups = tries.sort_values("try").groupby("task")
    success = tries[tries["state"] == "success"].set_index("task")["end"]
    return (success - groups["start"].first())[groups.size() > 1].to_dict()
""",
        # the numbers of the example
        'return {"upgrade[7]": 32.0, "upgrade[9]": 87.0, "upgrade[11]": 35.0, "upgrade[12]": 17.25}',
        # believes that another try is another worker
        """
groups = tries.sort_values("try").groupby("task")
again = groups["worker"].nunique() > 1
return (groups.tail(1).set_index("task")["end"] - groups["start"].first())[again].to_dict()
""",
        # drops what is no whole second
        """
groups = tries.sort_values("try").groupby("task")
lost = groups.tail(1).set_index("task")["end"] - groups["start"].first()
return {task: int(seconds) for task, seconds in lost[groups.size() > 1].items()}
""",
    ],
    "exercise-9-5": [
        # divides the work like water
        """\
    return -int(-tasks * task_s // limit_s) if task_s <= limit_s else None
""",
        # one worker for each task, on the safe side
        "return tasks if task_s <= limit_s else None",
        # rounds the tasks of a worker up
        """\
    each = -int(-limit_s // task_s)
    return -(-tasks // each) if task_s <= limit_s else None
""",
        # forgets the rest that does not divide
        """\
    each = int(limit_s // task_s)
    return max(1, tasks // each) if each else None
""",
        # no limit is too short
        "return -(-tasks // max(1, int(limit_s // task_s)))",
        # counts in whole seconds
        """\
    each = int(limit_s) // int(task_s)
    return -(-tasks // each) if each else None
""",
        # believes that a hundred workers are enough for anybody
        """
for workers in range(1, 101):
    if -(-tasks // workers) * task_s <= limit_s:
        return workers
return None
""",
    ],
    "exercise-9-6": [
        # searches the text, with its comments
        """\
    found = set()
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef) and any("task" in ast.unparse(one) for one in function.decorator_list):
            if any(clock in ast.get_source_segment(source, function) for clock in CLOCKS):
                found.add(function.name)
    return found
""",
        # sees the decorator only where it has no arguments
        """\
    found = set()
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef) and "task" in map(ast.unparse, function.decorator_list):
            calls = {ast.unparse(node.func) for line in function.body for node in ast.walk(line) if isinstance(node, ast.Call)}
            if calls & CLOCKS:
                found.add(function.name)
    return found
""",
        # takes every function for a task
        """\
    found = set()
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            calls = {ast.unparse(node.func) for line in function.body for node in ast.walk(line) if isinstance(node, ast.Call)}
            if calls & CLOCKS:
                found.add(function.name)
    return found
""",
        # a clock that is mentioned is thought to be read
        """\
    found = set()
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            marks = [getattr(one, "func", one) for one in function.decorator_list]
            names = {ast.unparse(node) for line in function.body for node in ast.walk(line) if isinstance(node, ast.Attribute)}
            if "task" in map(ast.unparse, marks) and names & CLOCKS:
                found.add(function.name)
    return found
""",
        # looks only for one of the clocks
        """\
    found = set()
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            marks = [getattr(one, "func", one) for one in function.decorator_list]
            calls = {ast.unparse(node.func) for line in function.body for node in ast.walk(line) if isinstance(node, ast.Call)}
            if "task" in map(ast.unparse, marks) and calls & {"datetime.now", "date.today"}:
                found.add(function.name)
    return found
""",
        # the DAG of the check
        'return {"transform", "clean"}',
    ],
    "exercise-10-1": [
        # as if the outage began when the old process has ended
        """\
    length = events["ready"] - events["exited"]
    return length * [rate for begin, rate in rates if begin <= events["stop"]][-1]
""",
        # the new process has begun, so it answers
        """\
    ends = [begin for begin, _ in rates[1:]] + [float("inf")]
    spans = [(rate, min(end, events["started"]) - max(begin, events["stop"])) for (begin, rate), end in zip(rates, ends)]
    return sum(rate * max(0.0, span) for rate, span in spans)
""",
        # one rate for the whole outage: that of its beginning
        """\
    rate = [rate for begin, rate in rates if begin <= events["stop"]][-1]
    return rate * (events["ready"] - events["stop"])
""",
        # the mean of all rates
        "return (events['ready'] - events['stop']) * sum(rate for _, rate in rates) / len(rates)",
        # the lesson's numbers
        "return 81.0",
        # users wait until the service is back
        "return 0.0",
        # counts whole requests, rate by rate
        """\
    ends = [begin for begin, _ in rates[1:]] + [float("inf")]
    spans = [(rate, min(end, events["ready"]) - max(begin, events["stop"])) for (begin, rate), end in zip(rates, ends)]
    return sum(int(rate * max(0.0, span)) for rate, span in spans)
""",
        # counts in steps of 10 ms
        """\
    step = 0.01
    moments = [events["stop"] + i * step for i in range(round((events["ready"] - events["stop"]) / step))]
    return sum(([0] + [rate for begin, rate in rates if begin <= moment + 1e-9])[-1] * step for moment in moments)
""",
    ],
    "exercise-10-2": [
        # whatever is sent after the switch reaches green
        'return requests["sent"].ge(switched).map({True: "green", False: "blue"})',
        # every tool works on connections
        """\
    opened = requests.groupby("connection")["sent"].transform("min")
    return opened.ge(switched).map({True: "green", False: "blue"})
""",
        # takes the first row of a connection for its first request
        """\
    decided = requests["sent"]
    if level == "connections":
        decided = requests.groupby("connection")["sent"].transform("first")
    return decided.ge(switched).map({True: "green", False: "blue"})
""",
        # exactly at the switch is before it
        """\
    decided = requests["sent"]
    if level == "connections":
        decided = requests.groupby("connection")["sent"].transform("min")
    return decided.gt(switched).map({True: "green", False: "blue"})
""",
        # the switch is done, so everybody is on green
        'return pd.Series("green", index=requests.index)',
    ],
    "exercise-10-3": [
        # takes the moment at which blue's last request was sent for that of its last answer
        """\
    blue = requests[requests["served_by"].str.startswith("blue")]
    green = requests[requests["served_by"].str.startswith("green")]
    return {
        "first green": green["ended"].min(),
        "last blue": blue["sent"].max(),
        "late on blue": int((blue["sent"] > returned).sum()),
        "under way": int(((blue["sent"] < returned) & (blue["ended"] > returned)).sum()),
    }
""",
        # what ends after the return is late
        """\
    blue = requests[requests["served_by"].str.startswith("blue")]
    green = requests[requests["served_by"].str.startswith("green")]
    late = int((blue["ended"] > returned).sum())
    return {
        "first green": green["ended"].min(), "last blue": blue["ended"].max(), "late on blue": late, "under way": late
    }
""",
        # green's requests are under way, too
        """\
    blue = requests[requests["served_by"].str.startswith("blue")]
    green = requests[requests["served_by"].str.startswith("green")]
    return {
        "first green": green["ended"].min(),
        "last blue": blue["ended"].max(),
        "late on blue": int((blue["sent"] > returned).sum()),
        "under way": int(((requests["sent"] < returned) & (requests["ended"] > returned)).sum()),
    }
""",
        # the first and the last row, as if a log were in the order of answers
        """\
    blue = requests[requests["served_by"].str.startswith("blue")]
    green = requests[requests["served_by"].str.startswith("green")]
    return {
        "first green": green["ended"].iloc[0],
        "last blue": blue["ended"].iloc[-1],
        "late on blue": int((blue["sent"] > returned).sum()),
        "under way": int(((blue["sent"] < returned) & (blue["ended"] > returned)).sum()),
    }
""",
        # what the first log has
        'return {"first green": 0.6, "last blue": 0.9, "late on blue": 1, "under way": 2}',
        # exactly at the return is after it
        """\
    blue = requests[requests["served_by"].str.startswith("blue")]
    green = requests[requests["served_by"].str.startswith("green")]
    return {
        "first green": green["ended"].min(),
        "last blue": blue["ended"].max(),
        "late on blue": int((blue["sent"] > returned).sum()),
        "under way": int(((blue["sent"] < returned) & (blue["ended"] >= returned)).sum()),
    }
""",
    ],
    "exercise-10-4": [
        # whatever was under way fails
        """\
    blue = requests["served_by"].str.startswith("blue")
    return sorted(requests.loc[blue & (requests["sent"] < killed) & (requests["ended"] > killed), "id"])
""",
        # the proxy sends everything again whose answer has not begun
        """\
    blue = requests["served_by"].str.startswith("blue")
    return sorted(requests.loc[blue & (requests["first_byte"] < killed) & (requests["ended"] > killed), "id"])
""",
        # reads never fail
        """\
    blue = requests["served_by"].str.startswith("blue") & (requests["kind"] == "write")
    return sorted(requests.loc[blue & (requests["sent"] < killed) & (requests["ended"] > killed), "id"])
""",
        # green's requests are cut off as well
        """\
    under_way = (requests["sent"] < killed) & (requests["ended"] > killed)
    again = (requests["kind"] == "read") & (requests["first_byte"] > killed)
    return sorted(requests.loc[under_way & ~again, "id"])
""",
        # what is sent to blue later counts, too
        """\
    blue = requests["served_by"].str.startswith("blue")
    again = (requests["kind"] == "read") & (requests["first_byte"] > killed)
    return sorted(requests.loc[blue & (requests["ended"] > killed) & ~again, "id"])
""",
        # a switch loses nothing
        "return []",
        # blue is one replica
        """\
    blue = requests["served_by"] == "blue-1"
    under_way = (requests["sent"] < killed) & (requests["ended"] > killed)
    again = (requests["kind"] == "read") & (requests["first_byte"] > killed)
    return sorted(requests.loc[blue & under_way & ~again, "id"])
""",
    ],
    "exercise-10-5": [
        # drains, and takes the reload for done when it has returned
        """\
    proxy.reload()
    while proxy.in_flight():
        pass
    proxy.stop_blue()
""",
        # the first answer of green is taken for the end of blue's
        """\
    proxy.reload()
    while proxy.ask() != "green":
        pass
    while proxy.in_flight():
        pass
    proxy.stop_blue()
""",
        # waits for the switch, and does not drain
        """\
    proxy.reload()
    in_a_row = 0
    while in_a_row < 5:
        in_a_row = in_a_row + 1 if proxy.ask() == "green" else 0
    proxy.stop_blue()
""",
        # drains, and waits for the switch afterwards
        """\
    proxy.reload()
    while proxy.in_flight():
        pass
    in_a_row = 0
    while in_a_row < 5:
        in_a_row = in_a_row + 1 if proxy.ask() == "green" else 0
    proxy.stop_blue()
""",
        # five answers of green, but not in a row
        """\
    proxy.reload()
    green = 0
    while green < 5:
        green += proxy.ask() == "green"
    while proxy.in_flight():
        pass
    proxy.stop_blue()
""",
        # some seconds are always enough
        """\
    proxy.reload()
    for _ in range(1500):
        proxy.ask()
    proxy.stop_blue()
""",
        # reloads again and again until it works
        """\
    in_a_row = 0
    while in_a_row < 5:
        proxy.reload()
        in_a_row = in_a_row + 1 if proxy.ask() == "green" else 0
    while proxy.in_flight():
        pass
    proxy.stop_blue()
""",
        # drains first
        """\
    while proxy.in_flight():
        pass
    proxy.reload()
    proxy.stop_blue()
""",
        # never asks: blue has been idle for a while
        """\
    proxy.reload()
    idle = 0
    while idle < 20:
        idle = 0 if proxy.in_flight() else idle + 1
    proxy.stop_blue()
""",
        # a pause instead of draining
        """\
    proxy.reload()
    in_a_row = 0
    while in_a_row < 5:
        in_a_row = in_a_row + 1 if proxy.ask() == "green" else 0
    for _ in range(70):
        proxy.in_flight()
    proxy.stop_blue()
""",
    ],
    "exercise-11-1": [
        # compares numbers only, and users of somebody else fill the gap
        """\
    ok = requests["outcome"] == "ok"
    writes = (requests["kind"] == "write").sum()
    possible = 1 - 0.05 ** (1 / len(requests)) if ok.all() else None
    return {"failed": int((~ok).sum()), "lost": int(writes - len(stored)), "possible": possible}
""",
        # a write that failed counts as lost
        """\
    ok = requests["outcome"] == "ok"
    users = requests.loc[requests["kind"] == "write", "user"]
    possible = 1 - 0.05 ** (1 / len(requests)) if ok.all() else None
    return {"failed": int((~ok).sum()), "lost": sum(stored.get(u) != NAME for u in users), "possible": possible}
""",
        # a user that is there is there, whatever its name
        """\
    ok = requests["outcome"] == "ok"
    users = requests.loc[ok & (requests["kind"] == "write"), "user"]
    possible = 1 - 0.05 ** (1 / len(requests)) if ok.all() else None
    return {"failed": int((~ok).sum()), "lost": sum(u not in stored for u in users), "possible": possible}
""",
        # none failed, so none fails
        """\
    ok = requests["outcome"] == "ok"
    users = requests.loc[ok & (requests["kind"] == "write"), "user"]
    share = float((~ok).mean())
    return {"failed": int((~ok).sum()), "lost": sum(stored.get(u) != NAME for u in users), "possible": share}
""",
        # less than one in all these requests
        """\
    ok = requests["outcome"] == "ok"
    users = requests.loc[ok & (requests["kind"] == "write"), "user"]
    possible = 1 / len(requests) if ok.all() else None
    return {"failed": int((~ok).sum()), "lost": sum(stored.get(u) != NAME for u in users), "possible": possible}
""",
        # only the proxy's answers are failures
        """\
    failed = int((requests["outcome"] == "5xx").sum())
    users = requests.loc[(requests["kind"] == "write") & (requests["outcome"] != "5xx"), "user"]
    possible = None if failed else 3 / len(requests)
    return {"failed": failed, "lost": sum(stored.get(u) != NAME for u in users), "possible": possible}
""",
        # as in the lesson
        'return {"failed": 0, "lost": 0, "possible": 3 / len(requests)}',
        # users who were only read count as well
        """\
    ok = requests["outcome"] == "ok"
    users = set(requests.loc[ok, "user"])
    possible = 1 - 0.05 ** (1 / len(requests)) if ok.all() else None
    return {"failed": int((~ok).sum()), "lost": sum(stored.get(u) != NAME for u in users), "possible": possible}
""",
        # counts writes, not users
        """\
    ok = requests["outcome"] == "ok"
    users = requests.loc[ok & (requests["kind"] == "write"), "user"]
    possible = 1 - 0.05 ** (1 / len(requests)) if ok.all() else None
    return {"failed": int((~ok).sum()), "lost": sum(stored.get(u) != NAME for u in users), "possible": possible}
""",
        # a user one of whose requests failed is not counted as lost
        """\
    bad = requests[requests["outcome"] != "ok"]
    created = set(requests.loc[requests["kind"] == "write", "user"]) - set(bad["user"])
    lost = sum(stored.get(user) != NAME for user in created)
    return {"failed": len(bad), "lost": lost, "possible": None if len(bad) else 3 / len(requests)}
""",
        # knows two ways to fail
        """\
    failed = int(requests["outcome"].isin(["timeout", "5xx"]).sum())
    created = set(requests.loc[(requests["kind"] == "write") & (requests["outcome"] == "ok"), "user"])
    lost = sum(stored.get(user) != NAME for user in created)
    return {"failed": failed, "lost": lost, "possible": None if failed else 3 / len(requests)}
""",
    ],
    "exercise-11-2": [
        # only the way onwards is asked
        """\
    if not release["reads blue"]:
        return "schema", 0
    if not release["ready"]:
        return "health", 0
    if not release["right"]:
        return "smoke tests", 0
    if release["dies_after"] is not None and release["dies_after"] < watched:
        return "replicas", rate * release["dies_after"]
    return ("service-level objective", rate * watched) if release["p99_s"] > limit_s else ("nothing", None)
""",
        # every bad release meets users for as long as it is watched
        """\
    if not (release["reads blue"] and release["blue reads it"]):
        return "schema", rate * watched
    if not release["ready"]:
        return "health", rate * watched
    if not release["right"]:
        return "smoke tests", rate * watched
    if release["dies_after"] is not None:
        return "replicas", rate * watched
    return ("service-level objective", rate * watched) if release["p99_s"] > limit_s else ("nothing", None)
""",
        # gates stop everything before a user meets it
        """\
    for gate, bad in (
        ("schema", not (release["reads blue"] and release["blue reads it"])),
        ("health", not release["ready"]),
        ("smoke tests", not release["right"]),
        ("replicas", release["dies_after"] is not None),
        ("service-level objective", release["p99_s"] > limit_s),
    ):
        if bad:
            return gate, 0
    return "nothing", None
""",
        # the health check finds all that is wrong
        'return ("health", 0) if not release["ready"] or release["dies_after"] is not None else ("nothing", None)',
        # one limit for all
        """\
    for gate, passed in (
        ("schema", release["reads blue"] and release["blue reads it"]),
        ("health", release["ready"]),
        ("smoke tests", release["right"]),
    ):
        if not passed:
            return gate, 0
    if release["dies_after"] is not None and release["dies_after"] < watched:
        return "replicas", rate * release["dies_after"]
    return ("service-level objective", rate * watched) if release["p99_s"] > 0.5 else ("nothing", None)
""",
        # does not look when the release dies
        """\
    if not (release["reads blue"] and release["blue reads it"]):
        return "schema", 0
    if not release["ready"]:
        return "health", 0
    if not release["right"]:
        return "smoke tests", 0
    if release["dies_after"]:
        return "replicas", rate * release["dies_after"]
    return ("service-level objective", rate * watched) if release["p99_s"] > limit_s else ("nothing", None)
""",
        # exactly at the limit is above it
        """\
    for gate, passed in (
        ("schema", release["reads blue"] and release["blue reads it"]),
        ("health", release["ready"]),
        ("smoke tests", release["right"]),
    ):
        if not passed:
            return gate, 0
    if release["dies_after"] is not None and release["dies_after"] < watched:
        return "replicas", rate * release["dies_after"]
    return ("service-level objective", rate * watched) if release["p99_s"] >= limit_s else ("nothing", None)
""",
        # asks first whether it dies
        """\
    if release["dies_after"] is not None and release["dies_after"] < watched:
        return "replicas", rate * release["dies_after"]
    if not (release["reads blue"] and release["blue reads it"]):
        return "schema", 0
    if not release["ready"]:
        return "health", 0
    if not release["right"]:
        return "smoke tests", 0
    return ("service-level objective", rate * watched) if release["p99_s"] > limit_s else ("nothing", None)
""",
    ],
    "exercise-11-3": [
        # writes down first what it is about to do: killed in between, it is never done
        """\
    if going_back:
        world.write("idle")
        world.switch("blue")
        world.retire("green")
    if world.state == "planned":
        world.write("created")
        world.create("green")
    if world.state == "created":
        world.write("switched")
        world.switch("green")
    if world.state == "switched":
        world.write("idle")
        world.retire("blue")
""",
        # does not look at the state: starts from nothing each time
        """\
    if going_back:
        world.switch("blue")
        world.retire("green")
    else:
        world.create("green")
        world.write("created")
        world.switch("green")
        world.write("switched")
        world.retire("blue")
    world.write("idle")
""",
        # goes back in the order in which it came: green is retired while it has the traffic
        """\
    if going_back:
        world.retire("green")
        world.switch("blue")
        world.write("idle")
    if world.state == "planned":
        world.create("green")
        world.write("created")
    if world.state == "created":
        world.switch("green")
        world.write("switched")
    if world.state == "switched":
        world.retire("blue")
        world.write("idle")
""",
        # one step a call, as if somebody called it again and again
        """\
    if going_back:
        world.switch("blue")
        world.retire("green")
        world.write("idle")
    elif world.state == "planned":
        world.create("green")
        world.write("created")
    elif world.state == "created":
        world.switch("green")
        world.write("switched")
    elif world.state == "switched":
        world.retire("blue")
        world.write("idle")
""",
        # two actions, and then two states
        """\
    if going_back:
        world.switch("blue")
        world.retire("green")
        world.write("idle")
    if world.state == "planned":
        world.create("green")
        world.switch("green")
        world.write("created")
        world.write("switched")
    if world.state == "created":
        world.switch("green")
        world.write("switched")
    if world.state == "switched":
        world.retire("blue")
        world.write("idle")
""",
        # believes the file when it goes back: green may have the traffic already, and nobody has written it down
        """\
    if going_back:
        if world.state == "switched":
            world.switch("blue")
        world.retire("green")
        world.write("idle")
    if world.state == "planned":
        world.create("green")
        world.write("created")
    if world.state == "created":
        world.switch("green")
        world.write("switched")
    if world.state == "switched":
        world.retire("blue")
        world.write("idle")
""",
        # goes on in any case
        """\
    if world.state == "planned":
        world.create("green")
        world.write("created")
    if world.state == "created":
        world.switch("green")
        world.write("switched")
    if world.state == "switched":
        world.retire("blue")
        world.write("idle")
""",
        # retires blue again when all is done
        """\
    if going_back:
        world.switch("blue")
        world.retire("green")
        world.write("idle")
        return
    if world.state == "planned":
        world.create("green")
        world.write("created")
    if world.state == "created":
        world.switch("green")
        world.write("switched")
    world.retire("blue")
    world.write("idle")
""",
    ],
    "exercise-11-4": [
        # an old release reads no record of a newer version
        'return {r["id"]: "reads" if r["schema_version"] == 1 else "fails" for r in records}',
        # no error is no loss
        """\
    needed = [name for name in fields if fields[name]]
    return {r["id"]: "reads" if all(name in r for name in needed) else "fails" for r in records}
""",
        # a field of blue's that is absent is an error, needed or not
        'return {r["id"]: "reads" if all(name in r for name in fields) else "fails" for r in records}',
        # whatever was renamed is missed, also where both names were written, or nothing
        """\
    return {
        r["id"]: "fails" if any(fields[name] and name not in r for name in fields)
        else "misses" if any(new in r for new in moved.values())
        else "reads"
        for r in records
    }
""",
        # a value of None under the new name is missed
        """\
    return {
        r["id"]: "fails" if any(fields[name] and name not in r for name in fields)
        else "misses" if any(name not in r and moved.get(name) in r for name in fields)
        else "reads"
        for r in records
    }
""",
        # what is empty is absent
        """\
    return {
        r["id"]: "fails" if any(fields[name] and name not in r for name in fields)
        else "misses" if any(not r.get(name) and r.get(moved.get(name)) for name in fields)
        else "reads"
        for r in records
    }
""",
        # None is no value
        """\
    return {
        r["id"]: "fails" if any(fields[name] and r.get(name) is None for name in fields)
        else "misses" if any(r.get(name) is None and r.get(moved.get(name)) is not None for name in fields)
        else "reads"
        for r in records
    }
""",
        # green can read it, so blue can
        'return {r["id"]: "reads" for r in records}',
        # an empty text under the new name is not missed
        """\
    return {
        r["id"]: "fails" if any(fields[name] and name not in r for name in fields)
        else "misses" if any(r.get(name) is None and r.get(moved.get(name)) for name in fields)
        else "reads"
        for r in records
    }
""",
        # 0 and False are no values
        """\
    verdicts = {}
    for record in records:
        new = {name: record.get(moved.get(name)) for name in fields if record.get(name) is None}
        if any(needed and name not in record for name, needed in fields.items()):
            verdicts[record["id"]] = "fails"
        else:
            verdicts[record["id"]] = "misses" if any(value or value == "" for value in new.values()) else "reads"
    return verdicts
""",
    ],
    "exercise-11-5": [
        # blue goes as soon as green has the traffic: there is nothing to go back to while it bakes
        """\
runbook = [
    ("expand the table", "drop the new column"),
    ("create green, which writes both names", "retire green"),
    ("run health checks and smoke tests on green", "retire green"),
    ("switch to green", "switch to blue, drain and retire green"),
    ("retire blue", "deploy the former release again"),
    ("bake", "deploy the former release again"),
    ("contract the table", "restore a backup"),
]
""",
        # the order is right, and each step can be undone by the switch
        """\
runbook = [
    ("expand the table", "switch to blue, drain and retire green"),
    ("create green, which writes both names", "switch to blue, drain and retire green"),
    ("run health checks and smoke tests on green", "switch to blue, drain and retire green"),
    ("switch to green", "switch to blue, drain and retire green"),
    ("bake", "switch to blue, drain and retire green"),
    ("retire blue", "switch to blue, drain and retire green"),
    ("contract the table", "switch to blue, drain and retire green"),
]
""",
        # contracts while blue is there, and thinks of dropping and adding a column as of two equals
        """\
runbook = [
    ("expand the table", "drop the new column"),
    ("create green, which writes both names", "retire green"),
    ("run health checks and smoke tests on green", "retire green"),
    ("switch to green", "switch to blue, drain and retire green"),
    ("contract the table", "restore a backup"),
    ("bake", "switch to blue, drain and retire green"),
    ("retire blue", "deploy the former release again"),
]
""",
        # the steps as they are listed
        "runbook = [(step, BACK[0]) for step in STEPS]",
        # after the contract the former release is deployed again, as if its column were still there
        """\
runbook = [
    ("expand the table", "drop the new column"),
    ("create green, which writes both names", "retire green"),
    ("run health checks and smoke tests on green", "retire green"),
    ("switch to green", "switch to blue, drain and retire green"),
    ("bake", "switch to blue, drain and retire green"),
    ("retire blue", "deploy the former release again"),
    ("contract the table", "deploy the former release again"),
]
""",
    ],
    "exercise-12-1": [
        # rounds down what the peak needs
        """\
    size = max(0, replicas - peak // each)
    return size, -(-replicas // size) if size else 0
""",
        # takes whole batches only: the last, smaller one is forgotten
        """\
    size = max(0, replicas + (-peak // each))
    return size, replicas // size if size else 0
""",
        # does not think of too few replicas
        """\
    size = replicas + (-peak // each)
    return size, -(-replicas // size) if size else 0
""",
        # half of them, whatever the peak
        "return replicas // 2, 2",
        # the replicas that the peak needs are taken for the batch
        """\
    needed = -(-peak // each)
    return (needed, -(-replicas // needed)) if 0 < needed < replicas else (0, 0)
""",
        # equal batches, not the largest
        """\
    away = max(replicas - -(-peak // each), 0)
    if not away:
        return 0, 0
    n = -(-replicas // away)
    return -(-replicas // n), n
""",
        # rounds up by adding almost one
        """\
    size = max(0, replicas - int(peak / each + 0.99))
    return size, -(-replicas // size) if size else 0
""",
    ],
    "exercise-12-2": [
        # takes an old reader for "backward"
        """\
    counts, by_new = {"forward": [0, 0], "backward": [0, 0]}, {}
    for row in log.itertuples():
        if row.kind == "write" and row.outcome == "ok":
            by_new[row.user] = row.served_by in new
        elif row.kind == "read" and by_new.get(row.user, row.served_by in new) != (row.served_by in new):
            direction = counts["backward" if by_new[row.user] else "forward"]
            direction[0] += 1
            direction[1] += row.outcome != "ok"
    return {name: tuple(numbers) for name, numbers in counts.items()}
""",
        # looks at who reads, and not at who wrote
        """\
    reads = log[log["kind"] == "read"]
    parts = {"forward": reads[~reads["served_by"].isin(new)], "backward": reads[reads["served_by"].isin(new)]}
    return {name: (len(part), int((part["outcome"] != "ok").sum())) for name, part in parts.items()}
""",
        # joins reads with writes, whatever came first, and counts writes that failed
        """\
    writer = log[log["kind"] == "write"].groupby("user")["served_by"].last().isin(new)
    reads = log[(log["kind"] == "read") & log["user"].isin(writer.index)]
    by_new, to_new = reads["user"].map(writer).astype(bool), reads["served_by"].isin(new)
    parts = {"forward": reads[by_new & ~to_new], "backward": reads[~by_new & to_new]}
    return {name: (len(part), int((part["outcome"] != "ok").sum())) for name, part in parts.items()}
""",
        # believes the schema gate: nothing fails, and each direction happened once
        'return {"forward": (1, 0), "backward": (1, 0)}',
        # ignores which replicas are new: those of green
        """\
    writer = log[log["kind"] == "write"].groupby("user")["served_by"].first().str.startswith("green")
    reads = log[(log["kind"] == "read") & log["user"].isin(writer.index)]
    by_new, to_new = reads["user"].map(writer).astype(bool), reads["served_by"].str.startswith("green")
    parts = {"forward": reads[by_new & ~to_new], "backward": reads[~by_new & to_new]}
    return {name: (len(part), int((part["outcome"] != "ok").sum())) for name, part in parts.items()}
""",
        # remembers the last write only, and not one for each user
        """\
    counts, last = {"forward": [0, 0], "backward": [0, 0]}, None
    for row in log.itertuples():
        to_new = row.served_by in new
        if row.kind == "write" and row.outcome == "ok":
            last = row.user, to_new
        elif row.kind == "read" and last and last[0] == row.user and last[1] != to_new:
            pair = counts["forward" if last[1] else "backward"]
            pair[0] += 1
            pair[1] += row.outcome != "ok"
    return {name: tuple(numbers) for name, numbers in counts.items()}
""",
        # only an error is not ok
        """\
    counts, by_new = {"forward": [0, 0], "backward": [0, 0]}, {}
    for row in log.itertuples():
        to_new = row.served_by in new
        if row.kind == "write" and row.outcome == "ok":
            by_new[row.user] = to_new
        elif row.kind == "read" and row.user in by_new and by_new[row.user] != to_new:
            pair = counts["forward" if by_new[row.user] else "backward"]
            pair[0] += 1
            pair[1] += row.outcome == "error"
    return {name: tuple(numbers) for name, numbers in counts.items()}
""",
        # a first write leaves something even if it failed
        """\
    counts, by_new = {"forward": [0, 0], "backward": [0, 0]}, {}
    for row in log.itertuples():
        to_new = row.served_by in new
        if row.kind == "write" and (row.outcome == "ok" or row.user not in by_new):
            by_new[row.user] = to_new
        elif row.kind == "read" and by_new.get(row.user, to_new) != to_new:
            pair = counts["forward" if by_new[row.user] else "backward"]
            pair[0] += 1
            pair[1] += row.outcome != "ok"
    return {name: tuple(numbers) for name, numbers in counts.items()}
""",
        # knows one way in which a write fails
        """\
    counts, by_new = {"forward": [0, 0], "backward": [0, 0]}, {}
    for row in log.itertuples():
        to_new = row.served_by in new
        if row.kind == "write" and row.outcome != "error":
            by_new[row.user] = to_new
        elif row.kind == "read" and by_new.get(row.user, to_new) != to_new:
            pair = counts["forward" if by_new[row.user] else "backward"]
            pair[0] += 1
            pair[1] += row.outcome != "ok"
    return {name: tuple(numbers) for name, numbers in counts.items()}
""",
    ],
    "exercise-12-3": [
        # as if the first share lasted until it is seen
        "return rate * failing * (steps[0][0] if steps else 1.0) * seen_after",
        # nobody is hit after the last step
        """\
    left, hit = seen_after, 0.0
    for share, seconds in steps:
        during = min(seconds, left)
        hit += rate * failing * share * during
        left -= during
    return hit
""",
        # every step lasts its whole time, whenever the bug is seen
        """\
    hit = sum(rate * failing * share * seconds for share, seconds in steps)
    return hit + rate * failing * max(0, seen_after - sum(seconds for _, seconds in steps))
""",
        # takes every answer of a bad release for wrong
        """\
    left, hit = seen_after, 0.0
    for share, seconds in [*steps, (1.0, float("inf"))]:
        during = min(seconds, left)
        hit += rate * share * during
        left -= during
    return hit
""",
        # twice as late, twice as many: the average share of the steps
        """\
    share = sum(share * seconds for share, seconds in steps) / sum(s for _, s in steps) if steps else 1.0
    return rate * failing * share * seen_after
""",
        # takes every answer after the last step for wrong
        """\
    left, hit = seen_after, 0.0
    for share, seconds in steps:
        during = min(seconds, left)
        hit += rate * failing * share * during
        left -= during
    return hit + rate * left
""",
        # goes second by second
        """\
    shares = [share for share, seconds in steps for _ in range(int(seconds))]
    shares += [1.0] * int(seen_after)
    return rate * failing * sum(shares[: int(seen_after)])
""",
    ],
    "exercise-12-4": [
        # begins where one happens to be, on develop
        """\
    return [
        "git checkout -b hotfix/repair",
        f"git add {repair}",
        "git commit -m repair",
        "git checkout main",
        "git merge --no-ff -m repair hotfix/repair",
        f"git tag -a {tag} -m repair",
        "git checkout develop",
        "git merge -m repair hotfix/repair",
    ]
""",
        # forgets develop
        """\
    return [
        "git checkout -b hotfix/repair main",
        f"git add {repair}",
        "git commit -m repair",
        "git checkout main",
        "git merge --no-ff -m repair hotfix/repair",
        f"git tag -a {tag} -m repair",
    ]
""",
        # sets the tag before the merge
        """\
    return [
        "git checkout -b hotfix/repair main",
        f"git add {repair}",
        "git commit -m repair",
        "git checkout main",
        f"git tag -a {tag} -m repair",
        "git merge --no-ff -m repair hotfix/repair",
        "git checkout develop",
        "git merge -m repair hotfix/repair",
    ]
""",
        # always the same file and the same tag
        """\
    return [
        "git checkout -b hotfix/repair main",
        "git add timeout.txt",
        "git commit -m repair",
        "git checkout main",
        "git merge hotfix/repair",
        "git tag v3.1.1",
        "git checkout develop",
        "git merge -m repair hotfix/repair",
    ]
""",
        # adds all that is in the folder
        """\
    return [
        "git checkout -b hotfix/repair main",
        "git add .",
        "git commit -m repair",
        "git checkout main",
        "git merge hotfix/repair",
        f"git tag {tag}",
        "git checkout develop",
        "git merge -m repair hotfix/repair",
    ]
""",
        # copies the repair to the hotfix branch, and never merges that one into develop
        """\
    return [
        f"git add {repair}",
        "git commit -m repair",
        "git checkout -b hotfix/repair main",
        "git cherry-pick develop",
        "git checkout main",
        "git merge hotfix/repair",
        f"git tag {tag}",
    ]
""",
        # repairs develop, and merges all of it
        """\
    return [
        f"git add {repair}",
        "git commit -m repair",
        "git branch hotfix/repair",
        "git checkout main",
        "git merge --no-ff -m repair develop",
        f"git tag {tag}",
    ]
""",
        # repairs main, and sets the branch afterwards
        """\
    return [
        "git checkout main",
        f"git add {repair}",
        "git commit -m repair",
        f"git tag -a {tag} -m repair",
        "git branch hotfix/repair",
        "git checkout develop",
        "git merge --no-ff -m repair hotfix/repair",
    ]
""",
        # adds all that is in the folder, and takes the draft out again: it stays in the history
        """\
    return [
        "git checkout -b hotfix/repair main",
        "git add .",
        "git commit -m repair",
        "git rm --cached -q draft.txt",
        "git commit -m without",
        "git checkout main",
        "git merge --no-ff -m repair hotfix/repair",
        f"git tag {tag}",
        "git checkout develop",
        "git merge -m repair hotfix/repair",
    ]
""",
        # repairs main, and commits nothing on the branch
        """\
    return [
        "git checkout main",
        f"git add {repair}",
        "git commit -m repair",
        "git checkout -b hotfix/repair",
        "git commit --allow-empty -m hotfix",
        "git checkout main",
        "git merge hotfix/repair",
        f"git tag {tag}",
        "git checkout develop",
        "git merge -m repair hotfix/repair",
    ]
""",
    ],
    "exercise-12-5": [
        # the canary hits the fewest, but which machines would it run on?
        """\
choice = {
    "nightly import": "stop and start",
    "price list": "canary",
    "booking": "blue-green",
    "search": "rolling",
}
""",
        # one strategy for all
        'choice = dict.fromkeys(CASES, "blue-green")',
        # does not ask whether old and new may answer side by side
        """\
choice = {
    "nightly import": "stop and start",
    "price list": "rolling",
    "booking": "canary",
    "search": "blue-green",
}
""",
        # an outage for the one that has nothing to spare
        """\
choice = {
    "nightly import": "rolling",
    "price list": "stop and start",
    "booking": "blue-green",
    "search": "canary",
}
""",
    ],
    "exercise-13-1": [
        # compares medians over all rounds, as if the machine had been the same in all of them
        """\
    wins = max(sum(a > b for a, b in zip(old, new)), sum(a < b for a, b in zip(old, new)))
    chance = 2 * sum(math.comb(len(old), k) for k in range(wins, len(old) + 1)) / 2 ** len(old)
    return None if chance > 0.05 else float(np.median(old) / np.median(new))
""",
        # one side only: calls twice as many equal programs different
        """\
    ratios = np.array(old) / np.array(new)
    wins = max((ratios > 1).sum(), (ratios < 1).sum())
    chance = sum(math.comb(len(ratios), k) for k in range(wins, len(ratios) + 1)) / 2 ** len(ratios)
    return None if chance > 0.05 else float(np.median(ratios))
""",
        # a difference of more than a tenth is none by chance
        """\
    speedup = float(np.median(np.array(old) / np.array(new)))
    return None if 0.9 < speedup < 1.1 else speedup
""",
        # the chance of exactly so many wins
        """\
    ratios = np.array(old) / np.array(new)
    wins = max((ratios > 1).sum(), (ratios < 1).sum())
    chance = 2 * math.comb(len(ratios), wins) / 2 ** len(ratios)
    return None if chance > 0.05 else float(np.median(ratios))
""",
        # all rounds or nothing
        """\
    ratios = np.array(old) / np.array(new)
    return float(np.median(ratios)) if (ratios > 1).all() or (ratios < 1).all() else None
""",
        # a round in which both took equally long counts as lost
        """\
    rounds, wins = len(old), sum(a > b for a, b in zip(old, new))
    k = max(wins, rounds - wins)
    chance = 2 * sum(math.comb(rounds, n) for n in range(k, rounds + 1)) / 2**rounds
    return None if chance > 0.05 else float(np.median(np.array(old) / np.array(new)))
""",
        # leaves out the rounds in which both took equally long
        """\
    wins, lost = sum(a > b for a, b in zip(old, new)), sum(a < b for a, b in zip(old, new))
    k, rounds = max(wins, lost), wins + lost
    chance = 2 * sum(math.comb(rounds, n) for n in range(k, rounds + 1)) / 2**rounds
    return None if chance > 0.05 else float(np.median(np.array(old) / np.array(new)))
""",
        # of the rounds in which both took equally long, each wins half
        """\
    ratios = np.array(old) / np.array(new)
    wins = max((ratios > 1).sum(), (ratios < 1).sum()) + (ratios == 1).sum() // 2
    chance = 2 * sum(math.comb(len(ratios), k) for k in range(wins, len(ratios) + 1)) / 2 ** len(ratios)
    return None if chance > 0.05 else float(np.median(ratios))
""",
        # takes the upper one of the two in the middle
        """\
    ratios = sorted(a / b for a, b in zip(old, new))
    wins = max(sum(r > 1 for r in ratios), sum(r < 1 for r in ratios))
    chance = 2 * sum(math.comb(len(ratios), k) for k in range(wins, len(ratios) + 1)) / 2 ** len(ratios)
    return None if chance > 0.05 else ratios[len(ratios) // 2]
""",
    ],
    "exercise-13-2": [
        # time that is spent in what it calls counts twice, so the outermost is always the worst
        """
worst = profile["total_s"].idxmax()
return worst, profile.loc[worst, "calls"] / records
""",
        # what is called most is believed to cost most
        """
worst = profile["calls"].idxmax()
return worst, profile.loc[worst, "calls"] / records
""",
        # the costliest call, not the costliest function
        """
worst = (profile["own_s"] / profile["calls"]).idxmax()
return worst, profile.loc[worst, "calls"] / records
""",
        # forgets the records
        """
worst = profile["own_s"].idxmax()
return worst, profile.loc[worst, "calls"]
""",
        # what the lesson found
        'return "problem", 3.0',
        # looks at functions only that call nobody
        """\
    leaves = profile[profile["own_s"] == profile["total_s"]]
    name = leaves["total_s"].idxmax()
    return name, leaves.loc[name, "calls"] / records
""",
    ],
    "exercise-13-3": [
        # forgets that what is written moves through the memory, too
        """\
    room = seconds / (read / bandwidth)
    return room, "memory" if room < 2 else "processor"
""",
        # takes this machine's bandwidth for every machine's
        """\
    room = seconds / ((read + written) / 10**10)
    return room, "memory" if room < 2 else "processor"
""",
        # whatever reads more than it computes
        """\
    room = seconds / ((read + written) / bandwidth)
    return room, "memory" if room <= 2 else "processor"
""",
        # the share of the bandwidth that is used
        """\
    used = (read + written) / bandwidth / seconds
    return used, "memory" if used > 0.5 else "processor"
""",
        # the word of another limit
        """\
    room = seconds * bandwidth / (read + written)
    return room, "memory" if room < 1.5 else "processor"
""",
    ],
    "exercise-13-4": [
        # right, and a copy of everything: by way of Python's dicts
        """\
    rows = [{"id": row["id"], "full_name": row["name"], "source": "import"} for row in table.to_pylist()]
    return pa.Table.from_pylist(rows)
""",
        # the word once a row
        """\
    source = pa.array(["import"] * len(table))
    return table.select(["id", "name"]).rename_columns(["id", "full_name"]).append_column("source", source)
""",
        # a large integer for each row
        """\
    source = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(table), np.int64)), ["import"])
    return table.select(["id", "name"]).rename_columns(["id", "full_name"]).append_column("source", source)
""",
        # the right names on the wrong columns
        """\
    source = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(table), np.int8)), ["import"])
    return table.select(["id", "created_at"]).rename_columns(["id", "full_name"]).append_column("source", source)
""",
        # makes one chunk of several, which copies
        """\
    source = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(table), np.int8)), ["import"])
    kept = table.combine_chunks().select(["id", "name"]).rename_columns(["id", "full_name"])
    return kept.append_column("source", source)
""",
        # takes the first chunk for the column
        """\
    ids, names = table["id"].chunk(0), table["name"].chunk(0)
    source = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(ids), np.int8)), ["import"])
    return pa.table({"id": ids, "full_name": names, "source": source})
""",
    ],
    "exercise-13-5": [
        # one pass, fast, and names that occur twice are listed twice
        """\
    counts, names = {}, {}
    for user in users:
        day = user["created_at"][:10]
        counts[day] = counts.get(day, 0) + 1
        names.setdefault(day, []).append(user["name"].split()[0])
    return [(day, counts[day], sorted(names[day])) for day in sorted(counts)]
""",
        # the same, as slow as before
        "return slow_report(users)",
        # in the order of first appearance
        """\
    counts, names = {}, {}
    for user in users:
        day = user["created_at"][:10]
        counts[day] = counts.get(day, 0) + 1
        names.setdefault(day, set()).add(user["name"].split()[0])
    return [(day, counts[day], sorted(names[day])) for day in counts]
""",
        # sorts the records of whoever called it
        """\
    users.sort(key=lambda user: user["created_at"])
    counts, names = {}, {}
    for user in users:
        day = user["created_at"][:10]
        counts[day] = counts.get(day, 0) + 1
        names.setdefault(day, set()).add(user["name"].split()[0])
    return [(day, counts[day], sorted(names[day])) for day in sorted(counts)]
""",
        # the name up to the first space, which may be its first character
        """\
    counts, names = {}, {}
    for user in users:
        day = user["created_at"][:10]
        counts[day] = counts.get(day, 0) + 1
        names.setdefault(day, set()).add(user["name"].split(" ")[0])
    return [(day, counts[day], sorted(names[day])) for day in sorted(counts)]
""",
        # a first name ends at a hyphen
        """\
    import re

    counts, names = {}, {}
    for user in users:
        day = user["created_at"][:10]
        counts[day] = counts.get(day, 0) + 1
        names.setdefault(day, set()).add(re.search(r"\\w+", user["name"])[0])
    return [(day, counts[day], sorted(names[day])) for day in sorted(counts)]
""",
    ],
    "exercise-14-1": [
        # takes what a counter shows for what happened meanwhile
        """\
    counters = ["ended", "failed", "fast"]
    before = scrapes[scrapes["at"] == scrapes["at"].min()].set_index("instance")[counters]
    grown = scrapes.groupby("instance")[counters].last().sum()
    return {
        "traffic": grown["ended"] / (scrapes["at"].max() - scrapes["at"].min()),
        "errors": grown["failed"] / grown["ended"],
        "latency": 1 - grown["fast"] / grown["ended"],
        "saturation": scrapes["queue"].max(),
        "uncounted": sent - grown["ended"],
    }
""",
        # a worker that comes later is thought to have counted since before
        """\
    counters = ["ended", "failed", "fast"]
    before = scrapes[scrapes["at"] == scrapes["at"].min()].set_index("instance")[counters]
    grown = scrapes.groupby("instance")[counters].agg(lambda values: values.iloc[-1] - values.iloc[0]).sum()
    return {
        "traffic": grown["ended"] / (scrapes["at"].max() - scrapes["at"].min()),
        "errors": grown["failed"] / grown["ended"],
        "latency": 1 - grown["fast"] / grown["ended"],
        "saturation": scrapes["queue"].max(),
        "uncounted": sent - grown["ended"],
    }
""",
        # looks at the last scrape only, in which a worker that was stopped is missing
        """\
    counters = ["ended", "failed", "fast"]
    before = scrapes[scrapes["at"] == scrapes["at"].min()].set_index("instance")[counters]
    grown = scrapes[scrapes["at"] == scrapes["at"].max()][counters].sum() - before.sum()
    return {
        "traffic": grown["ended"] / (scrapes["at"].max() - scrapes["at"].min()),
        "errors": grown["failed"] / grown["ended"],
        "latency": 1 - grown["fast"] / grown["ended"],
        "saturation": scrapes["queue"].max(),
        "uncounted": sent - grown["ended"],
    }
""",
        # adds up what all workers report of one queue
        """\
    counters = ["ended", "failed", "fast"]
    before = scrapes[scrapes["at"] == scrapes["at"].min()].set_index("instance")[counters]
    grown = scrapes.groupby("instance")[counters].last().sub(before, fill_value=0).sum()
    return {
        "traffic": grown["ended"] / (scrapes["at"].max() - scrapes["at"].min()),
        "errors": grown["failed"] / grown["ended"],
        "latency": 1 - grown["fast"] / grown["ended"],
        "saturation": scrapes.groupby("at")["queue"].sum().max(),
        "uncounted": sent - grown["ended"],
    }
""",
        # ignores the log of the senders: what is not counted did not happen
        """\
    counters = ["ended", "failed", "fast"]
    before = scrapes[scrapes["at"] == scrapes["at"].min()].set_index("instance")[counters]
    grown = scrapes.groupby("instance")[counters].last().sub(before, fill_value=0).sum()
    return {
        "traffic": grown["ended"] / (scrapes["at"].max() - scrapes["at"].min()),
        "errors": grown["failed"] / grown["ended"],
        "latency": 1 - grown["fast"] / grown["ended"],
        "saturation": scrapes["queue"].max(),
        "uncounted": 0,
    }
""",
        # averages the shares of the workers
        """\
    counters = ["ended", "failed", "fast"]
    before = scrapes[scrapes["at"] == scrapes["at"].min()].set_index("instance")[counters]
    grown = scrapes.groupby("instance")[counters].last().sub(before, fill_value=0)
    return {
        "traffic": grown["ended"].sum() / (scrapes["at"].max() - scrapes["at"].min()),
        "errors": (grown["failed"] / grown["ended"]).mean(),
        "latency": 1 - (grown["fast"] / grown["ended"]).mean(),
        "saturation": scrapes["queue"].max(),
        "uncounted": sent - grown["ended"].sum(),
    }
""",
        # the longest queue after the first moment
        """\
    counters = ["ended", "failed", "fast"]
    start, end = scrapes["at"].min(), scrapes["at"].max()
    before = scrapes[scrapes["at"] == start].set_index("instance")[counters]
    grown = scrapes.groupby("instance")[counters].last().sub(before, fill_value=0).sum()
    return {
        "traffic": grown["ended"] / (end - start),
        "errors": grown["failed"] / grown["ended"],
        "latency": 1 - grown["fast"] / grown["ended"],
        "saturation": scrapes["queue"][scrapes["at"] > start].max(),
        "uncounted": sent - grown["ended"],
    }
""",
        # asks one worker for the queue
        """\
    counters = ["ended", "failed", "fast"]
    before = scrapes[scrapes["at"] == scrapes["at"].min()].set_index("instance")[counters]
    grown = scrapes.groupby("instance")[counters].last().sub(before, fill_value=0).sum()
    queue = scrapes.groupby("at")["queue"].first()
    return {
        "traffic": grown["ended"] / (scrapes["at"].max() - scrapes["at"].min()),
        "errors": grown["failed"] / grown["ended"],
        "latency": 1 - grown["fast"] / grown["ended"],
        "saturation": queue.max(),
        "uncounted": sent - grown["ended"],
    }
""",
        # takes every counter that is small at first for a new one
        """\
    scraped = scrapes.groupby("instance")[["ended", "failed", "fast"]]
    before = scraped.first()
    before[before["ended"] < 10] = 0
    grown = (scraped.last() - before).sum()
    return {
        "traffic": grown["ended"] / (scrapes["at"].max() - scrapes["at"].min()),
        "errors": grown["failed"] / grown["ended"],
        "latency": 1 - grown["fast"] / grown["ended"],
        "saturation": scrapes["queue"].max(),
        "uncounted": sent - grown["ended"],
    }
""",
    ],
    "exercise-14-2": [
        # the last minus the first, or what is left after the restart
        """\
    there = [value for value in values if value is not None]
    return max(there[-1] - there[0], there[-1]) if len(there) > 1 and there[-1] < there[0] else (there or [0])[-1] - (there or [0])[0]
""",
        # leaves out the step with the restart, and what came since with it
        """\
    there = [value for value in values if value is not None]
    return sum(max(0, b - a) for a, b in zip(there, there[1:]))
""",
        # a scrape without an answer counts as 0, and so as a restart
        """\
    there = [value or 0 for value in values]
    return sum(b - a if b >= a else b for a, b in zip(there, there[1:]))
""",
        # the first value has come since the beginning, too
        """\
    there = [0, *(value for value in values if value is not None)]
    return sum(b - a if b >= a else b for a, b in zip(there, there[1:]))
""",
        # a counter that stands still is taken for a new one
        """\
    there = [value for value in values if value is not None]
    return sum(b - a if b > a else b for a, b in zip(there, there[1:]))
""",
        # the largest minus the smallest
        """\
    there = [value for value in values if value is not None]
    return max(there) - min(there) if there else 0
""",
        # looks for one restart, the first
        """\
    there = [value for value in values if value is not None]
    for at in range(1, len(there)):
        if there[at] < there[at - 1]:
            return there[at - 1] - there[0] + there[-1]
    return there[-1] - there[0] if there else 0
""",
        # begins with the first value above 0
        """\
    there = [value for value in values if value is not None]
    while there and there[0] == 0:
        there.pop(0)
    return sum(b - a if b >= a else b for a, b in zip(there, there[1:]))
""",
        # counts whole numbers
        """\
    there = [int(value) for value in values if value is not None]
    return sum(b - a if b >= a else b for a, b in zip(there, there[1:]))
""",
    ],
    "exercise-14-3": [
        # averages the shares of the replicas: an idle one counts like a busy one
        """\
    if any(limit not in replica for replica in replicas):
        raise ValueError(f"no bucket ends at {limit} s in every histogram")
    shares = [1 - replica[limit] / replica[float("inf")] for replica in replicas if replica[float("inf")]]
    return sum(shares) / len(shares) if shares else 0
""",
        # takes each bucket for those between two ends, not for all up to its end
        """\
    if any(limit not in replica for replica in replicas):
        raise ValueError(f"no bucket ends at {limit} s in every histogram")
    total = sum(sum(replica.values()) for replica in replicas)
    return sum(count for replica in replicas for end, count in replica.items() if end > limit) / total if total else 0
""",
        # guesses within a bucket instead of saying that nobody knows
        """\
    total = sum(replica[float("inf")] for replica in replicas)
    most = [max([n for end, n in replica.items() if end <= limit], default=0) for replica in replicas]
    return 1 - sum(most) / total if total else 0
""",
        # the share that was fast enough
        """\
    if any(limit not in replica for replica in replicas):
        raise ValueError(f"no bucket ends at {limit} s in every histogram")
    total = sum(replica[float("inf")] for replica in replicas)
    return sum(replica[limit] for replica in replicas) / total if total else 0
""",
        # ignores the limit: always a quarter of a second
        """\
    if any(limit not in replica for replica in replicas):
        raise ValueError(f"no bucket ends at {limit} s in every histogram")
    total = sum(replica[float("inf")] for replica in replicas)
    if limit == float("inf"):
        return 0
    return sum(replica[float("inf")] - replica[0.25] for replica in replicas) / total if total else 0
""",
        # leaves idle replicas out before it asks whether the limit is an end
        """\
    replicas = [replica for replica in replicas if replica[float("inf")]]
    if any(limit not in replica for replica in replicas):
        raise ValueError(f"no bucket ends at {limit} s in every histogram")
    total = sum(replica[float("inf")] for replica in replicas)
    return sum(replica[float("inf")] - replica[limit] for replica in replicas) / total if total else 0
""",
        # asks for requests first
        """\
    total = sum(replica[float("inf")] for replica in replicas)
    if total and any(limit not in replica for replica in replicas):
        raise ValueError(f"no bucket ends at {limit} s in every histogram")
    return sum(replica[float("inf")] - replica[limit] for replica in replicas) / total if total else 0
""",
        # asks the last replica for its ends
        """\
    total, fast, known = 0, 0, True
    for replica in replicas:
        known = limit in replica
        total += replica[float("inf")]
        fast += replica.get(limit, 0)
    if not known:
        raise ValueError(f"no bucket ends at {limit} s in every histogram")
    return 1 - fast / total if total else 0
""",
        # equal replicas count once
        """\
    if any(limit not in replica for replica in replicas):
        raise ValueError(f"no bucket ends at {limit} s in every histogram")
    pairs = {(replica[limit], replica[float("inf")]) for replica in replicas}
    total = sum(count for _, count in pairs)
    return 1 - sum(fast for fast, _ in pairs) / total if total else 0
""",
    ],
    "exercise-14-4": [
        # looks at the long window only: it rings on when the trouble is over
        """\
    return [
        minute
        for minute in range(len(total))
        if sum(failed[max(0, minute - long + 1) : minute + 1])
        > rate * budget * sum(total[max(0, minute - long + 1) : minute + 1])
    ]
""",
        # looks at the short window only: it rings at every hiccup
        """\
    return [
        minute
        for minute in range(len(total))
        if sum(failed[max(0, minute - short + 1) : minute + 1])
        > rate * budget * sum(total[max(0, minute - short + 1) : minute + 1])
    ]
""",
        # averages the shares of the minutes
        """\
    def burns(minute, window):
        minutes = range(max(0, minute - window + 1), minute + 1)
        shares = [failed[m] / total[m] if total[m] else 0 for m in minutes]
        return sum(shares) / len(shares) > rate * budget

    return [m for m in range(len(total)) if burns(m, long) and burns(m, short)]
""",
        # ignores the budget: that of the lesson's first check
        """\
    def burns(minute, window):
        part = slice(max(0, minute - window + 1), minute + 1)
        return sum(failed[part]) > rate * 0.01 * sum(total[part])

    return [m for m in range(len(total)) if burns(m, long) and burns(m, short)]
""",
        # waits until the windows are full
        """\
    def burns(minute, window):
        part = slice(minute - window + 1, minute + 1)
        return minute + 1 >= window and sum(failed[part]) > rate * budget * sum(total[part])

    return [m for m in range(len(total)) if burns(m, long) and burns(m, short)]
""",
        # never
        "return []",
        # takes a minute without requests for a window without requests
        """\
    def burns(minute, window):
        part = slice(max(0, minute - window + 1), minute + 1)
        return sum(failed[part]) > rate * budget * sum(total[part])

    return [m for m in range(len(total)) if total[m] and burns(m, long) and burns(m, short)]
""",
    ],
    "exercise-14-5": [
        # takes the release with the most failures, which is the one with the most traffic
        """\
    worst = table.loc[(table["failed"] + table["slow"]).idxmax()]
    return worst["release"] if worst["failed"] > 0.01 * worst["requests"] or worst["slow"] > 0.1 * worst["requests"] else None
""",
        # does not compare with the oldest release
        """\
    rows = table.iloc[1:]
    enough = rows["requests"] >= 100
    bad = rows[enough & ((rows["failed"] > 0.01 * rows["requests"]) | (rows["slow"] > 0.1 * rows["requests"]))]
    return bad["release"].iloc[-1] if len(bad) else None
""",
        # an oldest release that is bad in one signal excuses the others in both
        """\
    bad = (table["failed"] > 0.01 * table["requests"]) | (table["slow"] > 0.1 * table["requests"])
    bad &= table["requests"] >= 100
    return None if bad.iloc[0] or not bad.any() else table["release"][bad].iloc[-1]
""",
        # compares with the release before, so the second bad one in a row is excused
        """\
    enough = table["requests"] >= 100
    failed = (table["failed"] > 0.01 * table["requests"]) & enough
    slow = (table["slow"] > 0.1 * table["requests"]) & enough
    bad = (failed & ~failed.shift(fill_value=True)) | (slow & ~slow.shift(fill_value=True))
    return table["release"][bad].iloc[-1] if bad.any() else None
""",
        # takes the name that sorts last for the newest
        """\
    enough = table["requests"] >= 100
    failed = (table["failed"] > 0.01 * table["requests"]) & enough
    slow = (table["slow"] > 0.1 * table["requests"]) & enough
    bad = (failed & (not failed.iloc[0])) | (slow & (not slow.iloc[0]))
    return max(table["release"][bad], default=None)
""",
        # the newest, whatever it does
        'return table["release"].iloc[-1]',
        # few requests are enough
        """\
    failed, slow = table["failed"] > 0.01 * table["requests"], table["slow"] > 0.1 * table["requests"]
    bad = (failed & ~failed.iloc[0]) | (slow & ~slow.iloc[0])
    return table["release"][bad].iloc[-1] if bad.any() else None
""",
        # 100 requests are too few
        """\
    enough = table["requests"] > 100
    failed = (table["failed"] > 0.01 * table["requests"]) & enough
    slow = (table["slow"] > 0.1 * table["requests"]) & enough
    bad = (failed & (not failed.iloc[0])) | (slow & (not slow.iloc[0]))
    return table["release"][bad].iloc[-1] if bad.any() else None
""",
        # bad, and at least twice as bad as the oldest
        """\
    suspects = []
    for name, limit in (("failed", 0.01), ("slow", 0.1)):
        share = (table[name] / table["requests"]).where(table["requests"] >= 100, 0)
        suspects += table.index[(share > limit) & (share >= 2 * share[0])].drop(0, errors="ignore").tolist()
    return table["release"][max(suspects)] if suspects else None
""",
        # waits until the newest has enough requests
        """\
    enough = table["requests"] >= 100
    failed = (table["failed"] > 0.01 * table["requests"]) & enough
    slow = (table["slow"] > 0.1 * table["requests"]) & enough
    bad = (failed & (not failed.iloc[0])) | (slow & (not slow.iloc[0]))
    return table["release"][bad].iloc[-1] if bad.any() and enough.iloc[-1] else None
""",
        # an oldest release with few requests excuses those that are slow
        """\
    enough = table["requests"] >= 100
    failed = (table["failed"] > 0.01 * table["requests"]) & enough
    slow = table["slow"] > 0.1 * table["requests"]
    bad = (failed & (not failed.iloc[0])) | (slow & enough & (not slow.iloc[0]))
    return table["release"][bad].iloc[-1] if bad.any() else None
""",
    ],
    "exercise-14-6": [
        # any writing makes the data set fresh, that of an old partition, too
        """\
    stale, incomplete, passed, written = [], [], {}, -late - 1
    for minute in range(minutes):
        for at, partition, records in writes:
            if at == minute:
                passed[partition], written = records, at
        if minute - written > late:
            stale.append(minute)
        if passed and min(passed.values()) < share * pd.Series(passed).median():
            incomplete.append(minute)
    return stale, incomplete
""",
        # looks at the newest partition only: a gap is forgotten when a full one follows
        """\
    stale, incomplete, passed, written = [], [], {}, {}
    for minute in range(minutes):
        for at, partition, records in writes:
            if at == minute:
                passed[partition], written[partition] = records, at
        if not passed or minute - written[max(written)] > late:
            stale.append(minute)
        if passed and passed[max(passed)] < share * pd.Series(passed).median():
            incomplete.append(minute)
    return stale, incomplete
""",
        # the mean for the median
        """\
    stale, incomplete, passed, written = [], [], {}, {}
    for minute in range(minutes):
        for at, partition, records in writes:
            if at == minute:
                passed[partition], written[partition] = records, at
        if not passed or minute - written[max(written)] > late:
            stale.append(minute)
        if passed and min(passed.values()) < share * pd.Series(passed).mean():
            incomplete.append(minute)
    return stale, incomplete
""",
        # without a partition nothing can be late
        """\
    stale, incomplete, passed, written = [], [], {}, {}
    for minute in range(minutes):
        for at, partition, records in writes:
            if at == minute:
                passed[partition], written[partition] = records, at
        if passed and minute - written[max(written)] > late:
            stale.append(minute)
        if passed and min(passed.values()) < share * pd.Series(passed).median():
            incomplete.append(minute)
    return stale, incomplete
""",
        # the limit itself is late, too
        """\
    stale, incomplete, passed, written = [], [], {}, {}
    for minute in range(minutes):
        for at, partition, records in writes:
            if at == minute:
                passed[partition], written[partition] = records, at
        if not passed or minute - written[max(written)] >= late:
            stale.append(minute)
        if passed and min(passed.values()) < share * pd.Series(passed).median():
            incomplete.append(minute)
    return stale, incomplete
""",
        # what is written again is one more partition: the small one stays
        """\
    stale, incomplete, passed, written = [], [], [], {}
    for minute in range(minutes):
        for at, partition, records in writes:
            if at == minute:
                passed.append(records)
                written[partition] = at
        if not passed or minute - written[max(written)] > late:
            stale.append(minute)
        if passed and min(passed) < share * pd.Series(passed).median():
            incomplete.append(minute)
    return stale, incomplete
""",
        # a rule on age sees everything
        """\
    stale, written = [], {}
    for minute in range(minutes):
        written |= {partition: at for at, partition, _ in writes if at == minute}
        if not written or minute - written[max(written)] > late:
            stale.append(minute)
    return stale, stale
""",
        # the newest is the one that came first last
        """\
    stale, incomplete, passed, written = [], [], {}, {}
    for minute in range(minutes):
        for at, partition, records in writes:
            if at == minute:
                passed[partition], written[partition] = records, at
        if not passed or minute - written[list(written)[-1]] > late:
            stale.append(minute)
        if passed and min(passed.values()) < share * pd.Series(passed).median():
            incomplete.append(minute)
    return stale, incomplete
""",
        # takes one from the middle for the median
        """\
    stale, incomplete, passed, written = [], [], {}, {}
    for minute in range(minutes):
        for at, partition, records in writes:
            if at == minute:
                passed[partition], written[partition] = records, at
        if not passed or minute - written[max(written)] > late:
            stale.append(minute)
        ordered = sorted(passed.values())
        if passed and ordered[0] < share * ordered[len(ordered) // 2]:
            incomplete.append(minute)
    return stale, incomplete
""",
        # a list of all bad minutes
        "return [minute for minute in range(minutes) if not any(at == minute for at, *_ in writes)]",
        # the numbers of the lesson
        """\
    stale, incomplete, passed, written = [], [], {}, {}
    for minute in range(minutes):
        for at, partition, records in writes:
            if at == minute:
                passed[partition], written[partition] = records, at
        if not passed or minute - written[max(written)] > 20:
            stale.append(minute)
        if passed and min(passed.values()) < 0.9 * pd.Series(passed).median():
            incomplete.append(minute)
    return stale, incomplete
""",
        # compares with the partition before
        """\
    stale, incomplete, passed, written = [], [], {}, {}
    for minute in range(minutes):
        for at, partition, records in writes:
            if at == minute:
                passed[partition], written[partition] = records, at
        if not passed or minute - written[max(written)] > late:
            stale.append(minute)
        if any(passed[n] < share * passed.get(n - 1, 0) for n in passed):
            incomplete.append(minute)
    return stale, incomplete
""",
        "return [], []",
    ],
    "exercise-15-1": [
        # adds new fields and drops the old ones: the values are gone
        """\
    new = ("full_name", "phone_country", "phone_number")
    return [versioning.DropField("name", default=""), versioning.DropField("phone")] + [
        versioning.AddField(name, "string", nullable=True) for name in new
    ]
""",
        # keeps the name, and puts the parts of the phone in the wrong order
        """\
    return [
        versioning.RenameField("name", "full_name"),
        versioning.SplitField("phone", ("phone_number", "phone_country"), " "),
    ]
""",
        # copies instead of renaming and splitting: right names, and the whole phone twice
        """\
    return [
        versioning.RenameField("name", "full_name"),
        versioning.AddField("phone_country", "string", nullable=True, length=50, copy_from="phone"),
        versioning.RenameField("phone", "phone_number"),
    ]
""",
        # forgets the phone
        'return [versioning.RenameField("name", "full_name")]',
    ],
    "exercise-15-2": [
        # steps downward are taken for safe
        """
for step in range(1, len(plan)):
    upward = plan[step].version >= plan[step - 1].version
    if upward and not schema_gate(history, plan[step - 1], plan[step], evidence=evidence).passed:
        return step
return None
""",
        # the evidence is for the first step only
        """
for step in range(1, len(plan)):
    proof = evidence if step == 1 else None
    if not schema_gate(history, plan[step - 1], plan[step], evidence=proof).passed:
        return step
return None
""",
        # looks at the first and the last release only
        "return None if schema_gate(history, plan[0], plan[-1], evidence=evidence).passed else 1",
        # judges by the evidence of somebody else
        """\
    for step in range(1, len(plan)):
        if not schema_gate(history, plan[step - 1], plan[step], evidence=GOOD).passed:
            return step
    return None
""",
        # sees a step to version 4 without a phase, and does not ask the gate
        """\
    for step in range(1, len(plan)):
        if plan[step].version == 4 and (plan[step].phase is None or not evidence):
            return step
    return None
""",
        # returns the last unsafe step
        """\
    steps = range(1, len(plan))
    unsafe = [n for n in steps if not schema_gate(history, plan[n - 1], plan[n], evidence=evidence).passed]
    return unsafe[-1] if unsafe else None
""",
        "return 1",
    ],
    "exercise-15-3": [
        # fills the new form only
        """\
    country, _, number = (user["phone"] or "").partition(" ")
    parts = {"full_name": user["name"], "phone_country": country or None, "phone_number": number or None}
    return user | parts
""",
        # believes the old form where the two contradict each other
        """\
    both = dict(user)
    if "name" not in both and "full_name" in both:
        both["name"] = both["full_name"]
    if "name" in both:
        both["full_name"] = both["name"]
    if "phone" not in both and "phone_country" in both:
        parts = both["phone_country"], both["phone_number"]
        both["phone"] = None if None in parts else " ".join(parts)
    if "phone" in both:
        parts = (None, None) if both["phone"] is None else both["phone"].split(" ", 1)
        both["phone_country"], both["phone_number"] = parts
    return both
""",
        # the user of the example, for everybody
        """\
    both = {"name": "Núria Ñíguez", "phone": "+34 600 123 456"} | user
    return both | {"full_name": both["name"], "phone_country": "+34", "phone_number": "600 123 456"}
""",
        # fills the dict of the caller
        """\
    if "name" in user:
        user.setdefault("full_name", user["name"])
    elif "full_name" in user:
        user["name"] = user["full_name"]
    if "phone" not in user and "phone_country" in user:
        country, number = user["phone_country"], user["phone_number"]
        user["phone"] = None if country is None else f"{country} {number}"
    if "phone" in user:
        parts = [None, None] if user["phone"] is None else user["phone"].split(" ", 1)
        user.setdefault("phone_country", parts[0])
        user.setdefault("phone_number", parts[1])
        if [user["phone_country"], user["phone_number"]] != parts or user.get("name") != user.get("full_name"):
            raise ValueError("contradiction")
    return user
""",
        # overwrites a number that contradicts the phone
        """\
    both = dict(user)
    if "name" in both or "full_name" in both:
        both.setdefault("full_name", both.get("name"))
        both.setdefault("name", both["full_name"])
        if both["name"] != both["full_name"]:
            raise ValueError("names differ")
    if "phone" not in both and {"phone_country", "phone_number"} & set(both):
        if (both.get("phone_country") is None) != (both.get("phone_number") is None):
            raise ValueError("half a phone")
        both["phone"] = both["phone_country"] and f"{both['phone_country']} {both['phone_number']}"
    if "phone" in both:
        if both["phone"] is not None and " " not in both["phone"]:
            raise ValueError("no space")
        parts = [None, None] if both["phone"] is None else both["phone"].split(" ", 1)
        if "phone_country" not in both:
            both["phone_country"], both["phone_number"] = parts
        both.setdefault("phone_number", parts[1])
        if [both.get("phone_country"), both.get("phone_number")] != parts:
            raise ValueError("phones differ")
    return both
""",
        # takes a part that is absent for a contradiction
        """\
    both = dict(user)
    if "name" in both or "full_name" in both:
        both.setdefault("full_name", both.get("name"))
        both.setdefault("name", both["full_name"])
        if both["name"] != both["full_name"]:
            raise ValueError("names differ")
    if "phone" not in both and {"phone_country", "phone_number"} & set(both):
        if (both.get("phone_country") is None) != (both.get("phone_number") is None):
            raise ValueError("half a phone")
        both["phone"] = both["phone_country"] and f"{both['phone_country']} {both['phone_number']}"
    if "phone" in both:
        if both["phone"] is not None and " " not in both["phone"]:
            raise ValueError("no space")
        parts = [None, None] if both["phone"] is None else both["phone"].split(" ", 1)
        if not {"phone_country", "phone_number"} & set(both):
            both["phone_country"], both["phone_number"] = parts
        if [both.get("phone_country"), both.get("phone_number")] != parts:
            raise ValueError("phones differ")
    return both
""",
    ],
    "exercise-15-4": [
        # renames the column under the feet of the application
        'return ["ALTER TABLE users RENAME COLUMN name TO full_name"]',
        # right, and in one block that keeps its lock while it does other things
        """\
    columns = {"full_name": "VARCHAR(255)", "phone_country": "VARCHAR(50)", "phone_number": "VARCHAR(50)"}
    adds = "; ".join(f"ALTER TABLE users ADD COLUMN IF NOT EXISTS {name} {kind}" for name, kind in columns.items())
    return [f"DO $$ BEGIN {adds}; PERFORM pg_sleep(3); END $$"]
""",
        # fills the whole table in the same breath
        """\
    columns = {"full_name": "VARCHAR(255)", "phone_country": "VARCHAR(50)", "phone_number": "VARCHAR(50)"}
    adds = [f"ALTER TABLE users ADD COLUMN IF NOT EXISTS {name} {kind}" for name, kind in columns.items()]
    return [*adds, "UPDATE users SET full_name = name WHERE full_name IS NULL"]
""",
        # has the names right, and no place for a name
        """\
    names = ("full_name", "phone_country", "phone_number")
    return [f"ALTER TABLE users ADD COLUMN IF NOT EXISTS {name} VARCHAR(1)" for name in names]
""",
        # insists on its lock while the report has the table
        """\
    columns = {"full_name": "VARCHAR(255)", "phone_country": "VARCHAR(50)", "phone_number": "VARCHAR(50)"}
    adds = "; ".join(f"ALTER TABLE users ADD COLUMN IF NOT EXISTS {name} {kind}" for name, kind in columns.items())
    return [f"DO $$ BEGIN PERFORM set_config('lock_timeout', '0', true); {adds}; END $$"]
""",
    ],
    "exercise-15-5": [
        # fills all rows, whatever stands there
        """\
    return (
        "UPDATE users SET full_name = name, phone_country = split_part(phone, ' ', 1), "
        "phone_number = split_part(phone, ' ', 2) WHERE id > %(low)s AND id <= %(high)s"
    )
""",
        # makes two equal parts of a phone without a space
        """\
    return '''
        UPDATE users SET
            full_name = COALESCE(full_name, name),
            phone_country = COALESCE(phone_country, split_part(phone, ' ', 1)),
            phone_number = COALESCE(phone_number, substr(phone, strpos(phone, ' ') + 1))
        WHERE id > %(low)s AND id <= %(high)s
          AND (full_name IS NULL OR (phone IS NOT NULL AND phone_country IS NULL))
    '''
""",
        # guards the split, and looks at the rows without a space again and again
        """\
    return '''
        UPDATE users SET
            full_name = COALESCE(full_name, name),
            phone_country = COALESCE(phone_country, substring(phone FROM '^([^ ]*) ')),
            phone_number = COALESCE(phone_number, substring(phone FROM '^[^ ]* (.*)$'))
        WHERE id > %(low)s AND id <= %(high)s
          AND (full_name IS NULL OR (phone IS NOT NULL AND phone_country IS NULL))
    '''
""",
        # has the range in it, and does not use it
        """\
    return '''
        UPDATE users SET
            full_name = COALESCE(full_name, name),
            phone_country = COALESCE(phone_country, substring(phone FROM '^([^ ]*) ')),
            phone_number = COALESCE(phone_number, substring(phone FROM '^[^ ]* (.*)$'))
        WHERE %(low)s < %(high)s
          AND (full_name IS NULL OR (strpos(phone, ' ') > 0 AND phone_country IS NULL))
    '''
""",
    ],
    "exercise-15-6": [
        # takes the first code that fits
        """\
    phone = record["phone"]
    if phone is None or " " in phone:
        return record
    for code in CODES:
        if phone.startswith(code):
            return record | {"phone": f"{code} {phone[len(code):]}"}
    return record | {"phone": None}
""",
        # every code has three characters, as in the data that one happens to have looked at
        """\
    phone = record["phone"]
    if phone is None or " " in phone:
        return record
    return record | {"phone": f"{phone[:3]} {phone[3:]}" if phone.strip("-") else None}
""",
        # what is hard to mend is dropped: everything gets through
        """\
    phone = record["phone"]
    return record if phone is None or " " in phone else record | {"phone": None}
""",
        # guesses instead of asking
        """\
    phone = record["phone"]
    if phone is None or " " in phone:
        return record
    for code in sorted(CODES, key=len, reverse=True):
        if phone.startswith(code):
            return record | {"phone": f"{code} {phone.removeprefix(code)}"}
    return record | {"phone": f"+34 {phone}" if phone.strip("-") else None}
""",
    ],
    "exercise-15-7": [
        # one row of the mended records
        """
passed = int(first["passed"].sum() + second["passed"].iloc[0])
read = int(first["read"].sum())
return versioning.Report(read=read, passed=passed, quarantined=read - passed)
""",
        # adds everything up: what was mended counts as new, and as put aside
        """\
    both = pd.concat([first, second]).sum()
    return versioning.Report(*(int(both[name]) for name in ("read", "passed", "quarantined")))
""",
        # what the gate wants to hear
        """\
    read = int(first["read"].sum())
    return versioning.Report(read=read, passed=read, quarantined=0)
""",
        # forgets those that nobody tried again
        """\
    read, left = int(first["read"].sum()), int(second["quarantined"].sum())
    return versioning.Report(read=read, passed=read - left, quarantined=left)
""",
        # the first run alone
        """\
    return versioning.Report(*(int(first[name].sum()) for name in ("read", "passed", "quarantined")))
""",
    ],
    "exercise-15-8": [
        # checks the tag out
        """
git(repository, "checkout", "--quiet", tag)
with open(f"{repository}/RELEASE.json") as file:
    about = json.load(file)
return tag, about["schema"], about["phase"]
""",
        # reads what is checked out
        """\
    with open(f"{repository}/RELEASE.json", encoding="utf-8") as file:
        about = json.load(file)
    return tag, about["schema"], about["phase"]
""",
        # reads the name of the tag
        """\
    version = int(tag[1]) if tag[1].isdigit() else 4
    return tag, version, "expand" if version == 4 else None
""",
        # whatever is asked for, v4.0.0
        """\
    about = json.loads(git(repository, "show", "v4.0.0:RELEASE.json"))
    return "v4.0.0", about["schema"], about["phase"]
""",
        # reads the newest commit of main
        """\
    about = json.loads(git(repository, "show", "main:RELEASE.json"))
    return tag, about["schema"], about["phase"]
""",
        # checks out the file alone, and leaves it
        """\
    git(repository, "checkout", "--quiet", tag, "--", "RELEASE.json")
    with open(f"{repository}/RELEASE.json", encoding="utf-8") as file:
        about = json.load(file)
    return tag, about["schema"], about["phase"]
""",
        # goes back to main, wherever it came from
        """\
    git(repository, "checkout", "--quiet", tag)
    with open(f"{repository}/RELEASE.json", encoding="utf-8") as file:
        about = json.load(file)
    git(repository, "checkout", "--quiet", "main")
    return tag, about["schema"], about["phase"]
""",
    ],
    "exercise-15-9": [
        # takes a write that failed for one that is lost
        """\
    failed = requests["outcome"] != "ok"
    colours = requests["served_by"].str.partition("-")[0]
    written = requests.loc[requests["kind"] == "write", "user"]
    return {
        "requests": len(requests),
        "failed": int(failed.sum()),
        "blue": int((colours == "blue").sum()),
        "green": int((colours == "green").sum()),
        "writes lost": int((~written.isin(found)).sum()),
    }
""",
        # does not look at who was found
        """\
    ok = requests["outcome"] == "ok"
    colours = requests.loc[ok, "served_by"].str.partition("-")[0]
    return {
        "requests": len(requests),
        "failed": int((~ok).sum()),
        "blue": int((colours == "blue").sum()),
        "green": int((colours == "green").sum()),
        "writes lost": 0,
    }
""",
        # counts users, and not writes
        """\
    ok = requests[requests["outcome"] == "ok"]
    colours = ok["served_by"].str.partition("-")[0]
    return {
        "requests": len(requests),
        "failed": len(requests) - len(ok),
        "blue": int((colours == "blue").sum()),
        "green": int((colours == "green").sum()),
        "writes lost": len(set(ok.loc[ok["kind"] == "write", "user"]) - found),
    }
""",
        # what one hopes for
        """\
    half = len(requests) // 2
    return {"requests": len(requests), "failed": 0, "blue": half, "green": half, "writes lost": 0}
""",
        # reads of a user that is not found count as lost writes
        """\
    ok = requests[requests["outcome"] == "ok"]
    colours = ok["served_by"].str.partition("-")[0]
    written = ok["user"]
    return {
        "requests": len(requests),
        "failed": len(requests) - len(ok),
        "blue": int((colours == "blue").sum()),
        "green": int((colours == "green").sum()),
        "writes lost": int((~written.isin(found)).sum()),
    }
""",
        # a failed answer is an answer of its colour
        """\
    ok = requests["outcome"] == "ok"
    colours = requests["served_by"].str.partition("-")[0]
    written = requests.loc[ok & (requests["kind"] == "write"), "user"]
    return {
        "requests": len(requests),
        "failed": int((~ok).sum()),
        "blue": int((colours == "blue").sum()),
        "green": int((colours == "green").sum()),
        "writes lost": int((~written.isin(found)).sum()),
    }
""",
    ],
    "exercise-15-10": [
        # never goes back
        """\
    control(evidence=proof).deploy(target)
    return unreadable()
""",
        # never starts
        "return 0",
        # catches whatever comes: a gate that refuses, too
        """\
    def die(message):
        if message.startswith("switched:"):
            raise Killed

    with contextlib.suppress(Exception):
        control(progress=die, evidence=proof).deploy(target)
    time.sleep(1)
    control(evidence=proof).rollback()
    lost = unreadable()
    control(evidence=proof).deploy(target)
    return lost
""",
        # asks when green serves again, which reads everything
        """\
    def die(message):
        if message.startswith("switched:"):
            raise Killed

    with contextlib.suppress(Killed):
        control(progress=die, evidence=proof).deploy(target)
    time.sleep(1)
    control(evidence=proof).rollback()
    control(evidence=proof).deploy(target)
    return unreadable()
""",
        # goes back before a user has written to green
        """\
    def die(message):
        if message.startswith("switched:"):
            raise Killed

    with contextlib.suppress(Killed):
        control(progress=die, evidence=proof).deploy(target)
    control(evidence=proof).rollback()
    lost = unreadable()
    control(evidence=proof).deploy(target)
    return lost
""",
    ],
    "exercise-15-11": [
        # drops at once: the new release runs, after all
        """\
    careful(connection, "ALTER TABLE users DROP COLUMN IF EXISTS name, DROP COLUMN IF EXISTS phone")
    return []
""",
        # never
        'return ["too early"]',
        # asks which release runs, and not to which one would go back
        """\
    reasons = []
    if deployment.state != "idle" or deployment.running.version < 4:
        reasons.append("an old release may still read")
    different = '''SELECT count(*) FROM users WHERE full_name IS DISTINCT FROM name
        OR phone_country || ' ' || phone_number IS DISTINCT FROM phone'''
    if connection.execute(different).fetchone()[0]:
        reasons.append("rows differ")
    if not reasons:
        careful(connection, "ALTER TABLE users DROP COLUMN name, DROP COLUMN phone")
    return reasons
""",
        # counts what is empty, and does not compare what is not
        """\
    old = [one.name for one in (deployment.running, deployment.before) if one and one.version < 4]
    reasons = [f"{name} reads the old form" for name in old]
    if deployment.state != "idle":
        reasons.append("a deployment is under way")
    if connection.execute("SELECT count(*) FROM users WHERE full_name IS NULL").fetchone()[0]:
        reasons.append("rows are not filled")
    if not reasons:
        careful(connection, "ALTER TABLE users DROP COLUMN name, DROP COLUMN phone")
    return reasons
""",
        # compares by <>, which is never true of NULL
        """\
    old = [one.name for one in (deployment.running, deployment.before) if one and one.version < 4]
    reasons = [f"{name} reads the old form" for name in old]
    if deployment.state != "idle":
        reasons.append("a deployment is under way")
    different = '''SELECT count(*) FROM users WHERE full_name <> name
        OR phone_country || ' ' || phone_number <> phone'''
    if connection.execute(different).fetchone()[0]:
        reasons.append("rows differ")
    if not reasons:
        careful(connection, "ALTER TABLE users DROP COLUMN name, DROP COLUMN phone")
    return reasons
""",
        # gives its reasons, and drops all the same
        """\
    old = [one.name for one in (deployment.running, deployment.before) if one and one.version < 4]
    reasons = [f"{name} reads the old form" for name in old]
    careful(connection, "ALTER TABLE users DROP COLUMN IF EXISTS name, DROP COLUMN IF EXISTS phone")
    return reasons
""",
        # insists on its lock while the report has the table
        """\
    reasons = []
    if deployment.state != "idle":
        reasons.append("a deployment is under way")
    for release in (deployment.running, deployment.before):
        if release and release.version < 4:
            reasons.append(f"{release.name} reads the old form")
    different = '''SELECT count(*) FROM users WHERE full_name IS DISTINCT FROM name
        OR phone_country || ' ' || phone_number IS DISTINCT FROM phone'''
    if connection.execute(different).fetchone()[0]:
        reasons.append("rows differ")
    if not reasons:
        connection.execute("ALTER TABLE users DROP COLUMN name, DROP COLUMN phone")
    return reasons
""",
    ],
}

#: More mistakes of the capstone, and what the check says to each.
MISTAKES = [
    ("exercise-15-4", 'return ["ALTER TABLE users ADD COLUMN full_name VARCHAR(255)"]', "Run twice"),
    (
        "exercise-15-4",
        "return [f'ALTER TABLE users ADD COLUMN IF NOT EXISTS {name} VARCHAR(50) NOT NULL DEFAULT random()::text'"
        " for name in ('full_name', 'phone_country', 'phone_number')]",
        "was rewritten under",
    ),
    (
        "exercise-15-5",
        "return \"UPDATE users SET full_name = name, phone_country = split_part(phone, ' ', 1), phone_number = split_part(phone, ' ', 2) \""
        '"WHERE id > %(low)s AND id <= %(high)s AND phone_country IS NULL"',
        "split differently",
    ),
    (
        "exercise-15-5",
        "return 'UPDATE users SET full_name = COALESCE(full_name, name) WHERE id > %(low)s AND id <= %(high)s'",
        "split differently|updated",
    ),
    (
        "exercise-15-6",
        "phone = record['phone']\n"
        "if phone is None or ' ' in phone: return record\n"
        "if phone not in ('', '-', '--') and not phone.startswith(CODES): raise ValueError\n"
        "code = next((c for c in ('+351', '+35', '+34', '+1', '+49') if phone.startswith(c)), None)\n"
        "return record | {'phone': code and f'{code} {phone[len(code):][:8]}'}",
        "A name or a number has changed",
    ),
]
