package chttptest

import "fmt"

// headline says what is wrong, and what mends it where that is plain.
func (f *finding) headline() (head, mend string) {
	switch f.what {
	case foundAnother:
		if f.ref.kind == f.now.kind && f.ref.name == f.now.name {
			return fmt.Sprintf("%s (%s) sends something else", f.now.describe(), shortLine(f.now.line)), ""
		}
		return fmt.Sprintf("it does %s (%s) in the place of %s (%s)", f.now.describe(), shortLine(f.now.line), f.ref.describe(), shortLine(f.ref.line)), ""
	case foundAdded:
		return fmt.Sprintf("it does %s (%s), which it did not do there", f.now.describe(), shortLine(f.now.line)), ""
	case foundLeft:
		return fmt.Sprintf("it does not come to %s (%s)", f.ref.describe(), shortLine(f.ref.line)), ""
	case foundOtherwise:
		return fmt.Sprintf("%s (%s) begins otherwise: %s", f.now.describe(), shortLine(f.now.line), f.text), ""
	case foundDeadline:
		return fmt.Sprintf("the context of %s (%s) has another deadline", f.now.describe(), shortLine(f.now.line)),
			"derive it from a recorded time: context.WithDeadline(ctx, chttp.Now(ctx).Add(…)) instead of WithTimeout"
	case foundIds:
		return fmt.Sprintf("%s (%s) has another id", f.now.describe(), shortLine(f.now.line)), ""
	case foundValue:
		return fmt.Sprintf("%s (%s) comes to another value", f.now.describe(), shortLine(f.now.line)), ""
	case foundOutcome:
		return "it ends otherwise", ""
	case foundWorked:
		return "its peers have other work", ""
	case foundEffects:
		return "the effects (Options.Effects) are others", ""
	}
	return f.alone()
}

// alone is headline for what is wrong by itself, in comparison with nothing.
func (f *finding) alone() (head, mend string) {
	switch f.what {
	case foundStray:
		return fmt.Sprintf("%s (%s) is made on a goroutine that the function has started", f.now.describe(), shortLine(f.now.line)),
			"use chttp.Go, which gives the goroutine a scope of its own: what goroutines do at the same time has no order that a replay could find again, and a run that is stopped cannot end them"
	case foundTransaction:
		return fmt.Sprintf("a database/sql transaction is open across %s (%s)", f.now.describe(), shortLine(f.now.line)),
			"end it before the operation: a crash rolls it back, and the operation stays recorded. Do the whole transaction in one step, chttp.Do"
	case foundLocked:
		return fmt.Sprintf("a lock is held across %s (%s)", f.now.describe(), shortLine(f.now.line)),
			"release it before the operation: that can take days, another run waits as long, and a run that is stopped there ends without the lines that follow"
	case foundCoded:
		name := f.role
		if f.now != nil {
			name = "the value of " + f.now.describe()
			f.line = f.now.line
		}
		if f.line != "" {
			name += " (" + shortLine(f.line) + ")"
		}
		return name + " does not come back from the codec as it was",
			"what the function goes on with is what the codec brings back. Give the type exported fields, a MarshalJSON of its own, or an Equal method if nothing that counts is lost; or set Options.Node.Codec"
	case foundNobody:
		return fmt.Sprintf("it calls %s, which is no peer", f.text), "add it to Options.Peers"
	case foundProcess:
		return "another process of the test binary (Options.Process) did not come to the end of it:",
			"let the test come as far as Resumes in every process. An environment variable that it needs is named in Options.Keep; the others have other values there"
	case foundParked:
		return "it is parked:", ""
	case foundCrashed:
		return "it panics:", ""
	case foundEndless:
		return "it does not end:", ""
	}
	return "it cannot be tried:", ""
}
