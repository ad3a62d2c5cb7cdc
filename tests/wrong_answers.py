"""A typical wrong answer to each exercise, which its check must refuse.

The key is the exercise's grade id; the value is the code that stands in place of the solution, between its two markers.
"""

WRONG_ANSWERS: dict[str, str] = {
    # takes the whole loss for the serial share, as if one worker had lost it
    "exercise-1-1": "return 1 / speedup",
    # enough for the work, but not for the promise
    "exercise-1-2": "return int(arrivals * service_s) + 1",
    # each row counts alike, however long it lasted
    "exercise-1-3": """
total = log["at"].iloc[-1] - log["at"].iloc[0]
return float(laws.little(number=log["waiting"].mean(), rate=arrivals / total))
""",
    # asks the curve, which is right half of the time
    "exercise-1-4": """
numbers = np.arange(1, max(workers) + 1)
enough = numbers[fitting.fit_usl(workers, throughput).predict(numbers) >= demand]
return int(enough[0]) if len(enough) else None
""",
    # takes for each worker the time from its own first start to its own last end
    "exercise-2-1": """\
    seconds = (events["end"] - events["start"]).groupby(events["worker"]).sum()
    spans = events.groupby("worker")["end"].max() - events.groupby("worker")["start"].min()
    return (seconds / spans).to_dict()
""",
    # forgets the task that nobody has begun: it has no row
    "exercise-2-2": """\
    words = {}
    for task, rows in events.groupby("task"):
        if "done" in set(rows["outcome"]):
            words[task] = "repeated" if len(rows) > 1 else "completed"
        else:
            words[task] = "unacknowledged" if task in unacknowledged else "lost"
    return words
""",
    # takes late acknowledgement for enough
    "exercise-2-3": """\
    if not may_be_lost and not may_be_repeated:
        raise ValueError("impossible")
    return tasks.Delivery(late=may_be_repeated, visibility_timeout=2 * longest_s)
""",
    # marks the payment as done before it is
    "exercise-2-4": """\
    if ("done", payment) in store:
        return
    store["done", payment] = True
    store[source, "all"] = store.get((source, "all"), 0) - cents
    store[target, "all"] = store.get((target, "all"), 0) + cents
""",
    # converts what should be refused: "1", True and 3.0 all become versions
    "exercise-3-1": 'return int(record.get("schema_version", 1))',
    # lets old records have no country, where "ES" was asked for
    "exercise-3-2": """
users_v4 = versioning.SchemaHistory(
    "users",
    first=versioning.USERS.schema(1),
    steps={
        2: [
            versioning.AddField("email", "string", nullable=True, length=255),
            versioning.AddField("updated_at", "timestamp", copy_from="created_at"),
        ],
        3: [versioning.AddField("phone", "string", nullable=True, length=50)],
        4: [versioning.AddField("country", "string", nullable=True, length=2)],
    },
)
""",
    # searches among records that its author thought of: none of them is ahead
    "exercise-3-3": """
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
    # returns whatever came out, valid or not
    "exercise-3-4": """
mended = dict(record)
if isinstance(mended.get("created_at"), str):
    mended["created_at"] = mended["created_at"].replace(" ", "T")
return mended
""",
    "exercise-4-1": """\
    if backward and forward:
        return "any"
    return "writers" if backward else "readers"
""",
    "exercise-4-2": """\
mended = versioning.SchemaHistory(
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
    "exercise-4-3": """\
    return min(v for v in history.versions if compatibility.read(history, v, reader).compatible)
""",
    # trusts the default: readers of `after` read what `before` wrote, and find no phone number in it
    "exercise-4-4": """\
    return [(before, [before]), (before, [before, after]), (before, [after]), (after, [after])]
""",
    "exercise-5-1": """\
    return [(low, low + size) for low in range(0, count, size)]
""",
    "exercise-5-2": """\
    filled = connection.execute("UPDATE users SET country = 'ES' WHERE country IS NULL").rowcount
    connection.commit()
    return filled
""",
    "exercise-5-3": """\
    costs = [(lock, fixed + per_million * rows / 1e6) for lock, fixed, per_million in statements]
    return sum(cost for lock, cost in costs if lock == "exclusive")
""",
    "exercise-5-4": """\
history_5_4 = versioning.SchemaHistory(
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
    # takes the moment at which blue's last request was sent for that of its last answer
    "exercise-7-1": """\
    blue = requests[requests["served_by"].str.startswith("blue")]
    green = requests[requests["served_by"].str.startswith("green")]
    return {
        "first green": green["ended"].min(),
        "last blue": blue["sent"].max(),
        "late on blue": int((blue["sent"] > returned).sum()),
    }
""",
    # counts good and bad probes altogether, not in a row
    "exercise-7-2": """\
    good = bad = 0
    for took in probes:
        if took is not None and took <= limit_ms:
            good += 1
        else:
            bad += 1
        if good == successes:
            return "healthy"
        if bad == failures:
            return "refused"
    return "undecided"
""",
    # writes down first what it is about to do: killed in between, it is never done
    "exercise-7-3": """\
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
    # blue goes as soon as green has the traffic: there is nothing to go back to while it bakes
    "exercise-7-4": """\
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
}
