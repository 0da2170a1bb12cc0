"use strict";
(() => {
	const data = JSON.parse(document.getElementById("data").textContent);
	const OUTCOMES = data.outcomes;
	const text = index => (index ? data.texts[index - 1] : "");
	const PAGE = 200;
	const state = { kernel: data.kernels.length - 1, outcomes: new Set(), suite: "", query: "" };
	const main = document.getElementById("main");

	// Foreign text reaches the page as text nodes and attribute values only.
	function make(tag, attributes, ...children) {
		const element = document.createElement(tag);
		for (const [name, value] of Object.entries(attributes || {})) {
			if (name === "on") {
				for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
			} else if (value !== null && value !== undefined && value !== false) {
				element.setAttribute(name, value === true ? "" : value);
			}
		}
		element.append(...children.filter(child => child !== null && child !== undefined && child !== ""));
		return element;
	}

	function draw(tag, attributes, ...children) {
		const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
		for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
		element.append(...children);
		return element;
	}

	const styleOf = (outcome, excused) => (excused ? "warn" : OUTCOMES[outcome].style);
	// What lets no run fail: it ended as expected, or the base has it as well.
	const expected = (outcome, excused) => styleOf(outcome, excused) !== "bad";
	const fails = test => !expected(test.outcome, test.excused);
	const nameOf = outcome => OUTCOMES[outcome].name;
	const sign = (outcome, excused) => ({ good: "✓", warn: "-", bad: "✗" })[styleOf(outcome, excused)];

	function badge(outcome, excused) {
		return make("span", { class: `outcome ${styleOf(outcome, excused)}` }, `${sign(outcome, excused)} ${nameOf(outcome)}`);
	}

	function seconds(value) {
		if (value === null || value === undefined) return "";
		if (value < 10) return `${value.toFixed(value < 1 ? 2 : 1)} s`;
		if (value < 60) return `${Math.round(value)} s`;
		const whole = Math.round(value);
		if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
		return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
	}

	// Appends PAGE of *items*, and a button for the next ones: a page with 100,000 rows is never made.
	function chunked(parent, items, build) {
		let next = 0;
		const button = make("button", { class: "more", type: "button", on: { click: more } });
		function more() {
			const part = document.createDocumentFragment();
			for (const item of items.slice(next, next + PAGE)) part.append(build(item));
			next += PAGE;
			button.remove();
			parent.append(part);
			if (next < items.length) {
				button.textContent = `Show more (${items.length - next} left)`;
				parent.append(button);
			}
		}
		more();
		return { reach(index) { while (next <= index && next < items.length) more(); } };
	}

	function cases(test) {
		return test.cases ? test.cases.names.length : 0;
	}

	function excusedCases(test) {
		test.excusedCases ||= new Set(test.cases.excused);
		return test.excusedCases;
	}

	const caseExpected = (test, index) => expected(caseOutcome(test, index), excusedCases(test).has(index));
	const caseOutcome = (test, index) => test.cases.outcomes.charCodeAt(index) - 97;

	// Filters

	function matcher() {
		const query = state.query.toLowerCase();
		const memory = new Map();
		const found = index => {
			if (!index) return false;
			if (!memory.has(index)) memory.set(index, text(index).toLowerCase().includes(query));
			return memory.get(index);
		};
		return test => {
			if (state.suite && test.suite !== state.suite) return null;
			const whole = !query || test.name.toLowerCase().includes(query) || found(test.reason)
				|| found(test.output) || test.stories.some(each => found(each[1])) || test.reports.some(each => found(each.report) || each.title.toLowerCase().includes(query));
			const wanted = outcome => !state.outcomes.size || state.outcomes.has(outcome);
			const kept = [];
			for (let index = 0; index < cases(test); index++) {
				if (!wanted(caseOutcome(test, index))) continue;
				if (whole || test.cases.names[index].toLowerCase().includes(query)
					|| found(test.cases.reasons[index]) || found(test.cases.texts[index])) kept.push(index);
			}
			if (kept.length || (whole && wanted(test.outcome))) return { test, kept };
			return null;
		};
	}

	function counts(kernel) {
		const tests = new Array(OUTCOMES.length).fill(0);
		for (const test of kernel.tests) tests[test.outcome]++;
		return tests;
	}

	// One test

	// Names of the tests that are unfolded, which they stay while filters change.
	const opened = new Set();

	function unfold(row) {
		row.build();
		row.open = true;
	}

	function copyButton(words) {
		const button = make("button", { class: "copy", type: "button", on: { click: copy } }, "Copy");
		async function copy() {
			try {
				await navigator.clipboard.writeText(words);
			} catch {
				const area = make("textarea", {}, words);
				document.body.append(area);
				area.select();
				document.execCommand("copy");
				area.remove();
			}
			button.textContent = "Copied";
			setTimeout(() => { button.textContent = "Copy"; }, 2000);
		}
		return button;
	}

	function caseRow(test, index) {
		const outcome = caseOutcome(test, index);
		const reason = text(test.cases.reasons[index]);
		const printed = text(test.cases.texts[index]);
		const excused = excusedCases(test).has(index);
		const line = [badge(outcome, excused), " ", make("span", { class: "name" }, test.cases.names[index]),
			reason ? make("span", { class: "dim" }, `  ${reason}`) : ""];
		if (!printed) return make("div", { class: "case" }, ...line);
		return make("details", { class: "case", open: !expected(outcome, excused) && index < 1000 },
			make("summary", {}, ...line), make("pre", {}, printed));
	}

	function reportOf(each) {
		const words = [each.title];
		if (each.count > 1) words.push(` (${each.count} times)`);
		if (each.allowed) words.push(` (allowed: ${each.allowed})`);
		const style = each.severity === "note" || each.allowed ? "warn" : "bad";
		return make("details", { class: "report", open: style === "bad" },
			make("summary", {}, make("span", { class: style }, `${each.severity}: ${each.kind}`), " ", make("span", { class: "name" }, words.join(""))),
			make("p", { class: "dim mono" }, [each.fingerprint, each.where].filter(Boolean).join("  ")),
			make("pre", {}, text(each.report)));
	}

	function sparkline(attempts) {
		const times = attempts.map(each => each.seconds || 0);
		const most = Math.max(...times, 0.001), width = Math.max(1, Math.min(8, 600 / times.length));
		const svg = draw("svg", { width: Math.min(600, width * times.length), height: 40, role: "img",
			"aria-label": `seconds of ${attempts.length} attempts, at most ${seconds(most)}` });
		attempts.slice(0, 600).forEach((each, n) => {
			const height = Math.max(2, 38 * times[n] / most);
			svg.append(draw("rect", { class: styleOf(each.outcome), x: n * width, y: 40 - height,
				width: Math.max(1, width - 1), height }, draw("title", {}, `${n + 1}: ${nameOf(each.outcome)} ${seconds(times[n])}`)));
			svg.lastChild.setAttribute("color", "currentColor");
		});
		return svg;
	}

	function history(test) {
		if (data.kernels.length < 2) return "";
		const row = rowOf.get(test.name);
		if (!row || row.first === null) return "";
		const kernel = data.kernels[row.first], before = data.kernels[row.since];
		return make("p", { class: "bad" }, `Broken by ${kernel.name}`,
			kernel.patch ? `: ${kernel.patch}` : "", `. With ${before.name}: ${row.before}.`);
	}

	function body(test, kept) {
		const kernel = data.kernels[state.kernel];
		const parts = [history(test)];
		if (test.rerun) {
			parts.push(make("h3", {}, "Run again"),
				make("div", { class: "run" }, make("pre", {}, test.rerun), copyButton(test.rerun)));
		}
		if (test.cases) {
			const order = kept.slice().sort((a, b) => caseExpected(test, a) - caseExpected(test, b) || a - b);
			const hidden = cases(test) - kept.length;
			const list = make("div", {});
			parts.push(make("h3", {}, `Cases: ${test.tally}`, hidden ? ` (${hidden} hidden by the filter)` : ""), list);
			if (order.length) chunked(list, order, index => caseRow(test, index));
		}
		for (const [title, said] of test.stories) parts.push(make("h3", {}, title), make("pre", {}, text(said)));
		for (const fingerprint of test.boot) {
			const boot = kernel.boot.find(each => each.fingerprint === fingerprint);
			if (boot) parts.push(make("h3", {}, "At boot"), reportOf(boot));
		}
		if (test.reports.length) parts.push(make("h3", {}, "The kernel"), ...test.reports.map(reportOf));
		if (test.output) parts.push(make("h3", {}, "Output"), make("pre", {}, text(test.output)));
		if (test.attempts.length) {
			parts.push(make("h3", {}, `Attempts: ${test.attempts.filter(each => nameOf(each.outcome) === "pass").length}/${test.attempts.length} passed`),
				sparkline(test.attempts));
			const list = make("div", {});
			parts.push(list);
			const bad = test.attempts.map((each, n) => ({ ...each, n })).filter(each => !expected(each.outcome));
			if (bad.length) chunked(list, bad, each => make("div", { class: "case" }, badge(each.outcome), ` ${each.n + 1}: ${text(each.reason)}`));
		}
		const facts = make("dl", {});
		for (const [name, value] of test.facts) facts.append(make("dt", {}, name), make("dd", { class: "mono" }, value));
		for (const [name, path] of test.logs) {
			facts.append(make("dt", {}, name), make("dd", { class: "mono" },
				make("a", { href: path.split("/").map(encodeURIComponent).join("/") }, path)));
		}
		if (facts.children.length) parts.push(make("h3", {}, "Facts"), facts);
		return make("div", { class: "body" }, ...parts);
	}

	function testRow({ test, kept }) {
		const most = data.kernels[state.kernel].longest || 1;
		const bar = draw("svg", { class: "bar dim", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
		if (test.seconds !== null) bar.append(draw("rect", { x: 0, y: 0, height: 10, width: Math.max(1, 100 * test.seconds / most) }));
		const row = make("details", { class: "test", on: { toggle: fill } },
			make("summary", { on: { click: build } }, badge(test.outcome, test.excused), make("span", { class: "name" }, test.name),
				test.tally ? make("span", { class: "dim" }, test.tally) : "",
				make("span", { class: "time dim" }, seconds(test.seconds), bar),
				test.reason ? make("span", { class: "reason" }, text(test.reason)) : ""));
		// The toggle event comes later than the click, and without one where the page itself opens.
		function build() {
			if (row.children.length === 1) row.append(body(test, kept));
		}
		function fill() {
			if (row.open) build();
			if (row.isConnected) opened[row.open ? "add" : "delete"](test.name);
		}
		row.build = build;
		if (opened.has(test.name)) unfold(row);
		return row;
	}

	// The matrix of kernels

	// Which kernel breaks a test is found out where the console has it from, and comes with the data.
	const byName = data.kernels.map(kernel => new Map(kernel.tests.map(test => [test.name, test])));
	const rowOf = new Map(data.rows.map(row => [row.name, row]));
	const cellOf = (row, n) => byName[n].get(row.cells.length ? row.cells[n] : row.name);

	function matrix() {
		const head = make("tr", {}, make("th", { scope: "col" }, "test"), ...data.kernels.map(kernel =>
			make("th", { scope: "col" }, make("b", {}, kernel.name), make("div", { class: "dim" }, kernel.patch))));
		const rows = make("tbody", {});
		const bad = row => data.kernels.some((_, n) => cellOf(row, n) && fails(cellOf(row, n)));
		const order = [...data.rows.filter(bad), ...data.rows.filter(row => !bad(row))];
		chunked(rows, order, row => {
			const name = row.name;
			return make("tr", {}, make("th", { scope: "row", class: "name" }, name), ...data.kernels.map((kernel, n) => {
				const test = cellOf(row, n);
				if (!test) return make("td", { class: "dim" }, "–");
				const words = `${sign(test.outcome, test.excused)} ${nameOf(test.outcome)}`;
				return make("td", { class: n === row.first ? "first" : "" }, make("button", {
					type: "button", class: styleOf(test.outcome, test.excused),
					"aria-label": `${name} with ${kernel.name}: ${nameOf(test.outcome)}${n === row.first ? ", broken here" : ""}`,
					on: { click() { open(n, test.name); } },
				}, words));
			}));
		});
		return make("section", { "aria-label": "matrix" }, make("h2", {}, "Kernels and tests"),
			make("p", { class: "dim" }, "Each column is a kernel. A mark is where a test is broken for the first time. Click for details."),
			make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), rows)));
	}

	// The timeline

	function timeline() {
		const kernel = data.kernels[state.kernel], box = make("div", {});
		const section = make("details", { on: { toggle: fill } },
			make("summary", { on: { click: fill } }, "Timeline of the run"), box);
		function fill() {
			if (box.firstChild) return;
			const prepared = kernel.prepare_s || 0;
			const timed = kernel.tests.filter(test => test.start !== null && test.seconds !== null)
				.sort((a, b) => b.seconds - a.seconds).slice(0, 2000).sort((a, b) => a.start - b.start);
			const lanes = [];
			for (const test of timed) {
				let lane = lanes.findIndex(end => end <= test.start + 0.001);
				if (lane < 0) lane = lanes.push(0) - 1;
				lanes[lane] = test.start + test.seconds;
				test.lane = lane;
			}
			const end = Math.max(prepared + (kernel.tests_s || 0), ...lanes.map(each => each + prepared), 0.001);
			const high = 22 + 14 * Math.max(1, lanes.length);
			const svg = draw("svg", { class: "timeline", viewBox: `0 0 1000 ${high}`, role: "group", "aria-label": "timeline" });
			const x = value => 1000 * value / end;
			if (prepared) svg.append(draw("rect", { class: "dim", x: 0, y: 4, height: high - 8, width: x(prepared) },
				draw("title", {}, `preparing: ${seconds(prepared)}`)));
			for (const test of timed) {
				const go = () => open(state.kernel, test.name);
				const rect = draw("rect", { class: styleOf(test.outcome, test.excused), x: x(prepared + test.start), y: 8 + 14 * test.lane,
					height: 11, width: Math.max(1.5, x(test.seconds)), role: "button", "aria-label": test.name },
				draw("title", {}, `${test.name}: ${nameOf(test.outcome)}, ${seconds(test.seconds)}`));
				rect.addEventListener("click", go);
				svg.append(rect);
			}
			box.append(make("p", { class: "dim" }, [
				prepared ? `Preparing took ${seconds(prepared)}` : "", kernel.tests_s ? `the tests ${seconds(kernel.tests_s)}` : "",
				`${timed.length} of ${kernel.tests.length} tests are shown by when they began`].filter(Boolean).join(", "), "."), svg);
		}
		return section;
	}

	// The page

	const list = make("section", { id: "tests", "aria-label": "tests" });
	const status = make("p", { class: "dim", role: "status" });
	const search = make("input", { type: "search", placeholder: "Search names, reasons, output", "aria-label": "Search" });
	const outcomes = make("span", { role: "group", "aria-label": "Outcomes" });
	const suites = make("select", { "aria-label": "Suite" });
	const kernels = make("select", { "aria-label": "Kernel" });
	const timelineBox = make("div", {});
	let shown = [], pages = null;

	function list_again() {
		const kernel = data.kernels[state.kernel];
		const match = matcher();
		shown = kernel.tests.map(match).filter(Boolean);
		const weight = test => OUTCOMES[test.outcome].severity * fails(test);
		shown.sort((a, b) => weight(b.test) - weight(a.test));
		list.replaceChildren();
		pages = chunked(list, shown, testRow);
		status.textContent = `${shown.length} of ${kernel.tests.length} tests`;
	}

	function kernel_again() {
		const kernel = data.kernels[state.kernel], number = counts(kernel);
		outcomes.replaceChildren(...number.map((count, outcome) => !count && !kernel.seen.includes(outcome) ? "" : make("button", {
			type: "button", class: styleOf(outcome), "aria-pressed": String(state.outcomes.has(outcome)),
			on: { click(event) {
				if (!state.outcomes.delete(outcome)) state.outcomes.add(outcome);
				event.currentTarget.setAttribute("aria-pressed", String(state.outcomes.has(outcome)));
				list_again();
			} },
		}, `${nameOf(outcome)} ${count}`)).filter(Boolean));
		const all = [...new Set(kernel.tests.map(test => test.suite))];
		suites.replaceChildren(make("option", { value: "" }, "all suites"), ...all.map(name => make("option", { value: name }, name)));
		suites.value = all.includes(state.suite) ? state.suite : "";
		state.suite = suites.value;
		kernels.value = String(state.kernel);
		timelineBox.replaceChildren(timeline());
		list_again();
	}

	function clear() {
		state.outcomes.clear();
		state.suite = state.query = search.value = "";
		kernel_again();
	}

	function open(kernel, name) {
		state.kernel = kernel;
		clear();
		const index = shown.findIndex(each => each.test.name === name);
		if (index < 0) return;
		pages.reach(index);
		const row = list.querySelectorAll("details.test")[index];
		unfold(row);
		row.firstChild.focus();
		row.scrollIntoView({ block: "start" });
		window.history.replaceState(null, "", `#${encodeURIComponent(name)}`);
	}

	function from_address() {
		let name = "";
		try { name = decodeURIComponent(location.hash.slice(1)); } catch { return; }
		if (name && byName[state.kernel].has(name)) open(state.kernel, name);
	}

	let waiting = 0;
	search.addEventListener("input", () => {
		clearTimeout(waiting);
		waiting = setTimeout(() => { state.query = search.value.trim(); list_again(); }, 120);
	});
	suites.addEventListener("change", () => { state.suite = suites.value; list_again(); });
	kernels.addEventListener("change", () => { state.kernel = Number(kernels.value); kernel_again(); });
	document.addEventListener("keydown", event => {
		if (event.ctrlKey || event.altKey || event.metaKey) return;
		if (event.key === "Escape") { clear(); return; }
		if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
		if (event.key === "/") { search.focus(); event.preventDefault(); }
		if (event.key === "j" || event.key === "k") {
			const rows = [...list.querySelectorAll("details.test > summary")];
			const at = rows.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
			if (rows[Math.max(0, at)]) rows[Math.max(0, at)].focus();
		}
	});
	window.addEventListener("beforeprint", () => {
		[...list.querySelectorAll("details.test")].slice(0, 50).forEach((row, n) => { if (fails(shown[n].test)) unfold(row); });
	});
	window.addEventListener("hashchange", from_address);

	const parts = [];
	if (data.kernels.length > 1) {
		parts.push(matrix());
		kernels.append(...data.kernels.map((kernel, n) => make("option", { value: n }, kernel.name)));
	}
	const boots = data.kernels.flatMap(kernel => kernel.boot);
	if (boots.length) parts.push(make("section", { "aria-label": "at boot" }, make("h2", {}, "The kernel, at boot"), ...boots.map(reportOf)));
	parts.push(make("h2", {}, "Tests"), make("div", { class: "filters", role: "search" }, search,
		data.kernels.length > 1 ? kernels : "", suites, outcomes, make("button", { type: "button", on: { click: clear } }, "Clear")),
	status, timelineBox, list);
	main.replaceChildren(...parts);
	kernel_again();
	from_address();
	const red = shown.filter(each => fails(each.test));
	if (data.kernels.length === 1 && red.length > 0 && red.length <= 3 && !location.hash) {
		[...list.querySelectorAll("details.test")].slice(0, red.length).forEach(unfold);
	}
})();
