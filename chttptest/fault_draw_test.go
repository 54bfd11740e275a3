package chttptest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp/chttptest"
)

// fates makes these requests, and returns what each of their attempts met.
func fates(t *testing.T, seed uint64, atOnce bool, key, body func(i int) string) (met []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := chttptest.EveryFault(0.1)
		n := chttptest.NewNetwork(&chttptest.NetworkOptions{Seed: seed, Faults: f})
		defer n.Close()
		n.Handle(bank, new(counter))
		const requests, attempts = 40, 3
		met = make([]string, requests)
		var wg sync.WaitGroup
		one := func(i int) {
			for range attempts {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, charge, strings.NewReader(body(i)))
				if err != nil {
					t.Error(err)
				}
				req.Header.Set("Idempotency-Key", key(i))
				begun := time.Now()
				res, err := n.Transport("").RoundTrip(req)
				var answer []byte
				if err == nil {
					answer, err = io.ReadAll(res.Body)
					res.Body.Close()
					met[i] += fmt.Sprint(res.StatusCode, " ")
				}
				if err != nil && !timedOut(err) {
					err = errors.Unwrap(err) // without the port
				}
				met[i] += fmt.Sprint(len(answer) > 0, time.Since(begun), err, "; ")
				cancel()
			}
		}
		for i := range requests {
			if atOnce {
				wg.Go(func() { one(i) })
			} else {
				one(i)
			}
		}
		wg.Wait()
	})
	return met
}

func TestTheSameSeedMakesTheSameFaults(t *testing.T) {
	numbered := func(i int) string { return fmt.Sprint("key ", i) }
	random := func(i int) string { return fmt.Sprintf("%x-%d", rand.Int64(), i%2) }
	stable := func() func(i int) string {
		id := rand.Int64()
		return func(i int) string { return fmt.Sprint(id, i) }
	}
	body := func(i int) string { return fmt.Sprint("body ", i) }
	same := func(int) string { return "the same body" }
	want := fates(t, 7, false, numbered, body)
	for name, got := range map[string][]string{
		"again":                 fates(t, 7, false, numbered, body),
		"at once":               fates(t, 7, true, numbered, body),
		"with other keys":       fates(t, 7, false, stable(), body),
		"at once with new keys": fates(t, 7, true, stable(), body),
	} {
		if !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	got, repeated := fates(t, 7, false, stable(), same), fates(t, 7, false, stable(), same)
	if !slices.Equal(got, repeated) {
		t.Errorf("alike but for the key: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(repeated, "\n"))
	}
	if slices.Sort(got); len(slices.Compact(got)) < 10 {
		t.Errorf("requests that differ in their keys alone meet the same: %q", got)
	}
	if slices.Equal(fates(t, 8, false, numbered, body), want) {
		t.Error("another seed makes the same faults")
	}
	if slices.Equal(fates(t, 7, false, random, body), want) {
		t.Error("the attempts of one request meet what those of different ones do")
	}
}

func TestFaultsComeAsOftenAsTheirChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const requests = 3000
		f := chttptest.EveryFault(0.08)
		f.Double, f.Refuse = 0.04, 0.12
		n := chttptest.NewNetwork(&chttptest.NetworkOptions{Faults: f})
		defer n.Close()
		n.Handle(bank, new(counter))
		client := n.Client("")
		client.Timeout = time.Minute
		for i := range requests {
			post(t.Context(), client, charge, fmt.Sprint(i/3))
		}
		pass(time.Hour)
		counts := n.Counts()
		near := func(what string, got int, chance float64) {
			if want := chance * requests; math.Abs(float64(got)-want) > 5*math.Sqrt(want) {
				t.Errorf("%s came %d times, want about %.0f", what, got, want)
			}
		}
		for _, k := range chttptest.FaultKinds() {
			chance := 0.08
			switch k {
			case chttptest.Double:
				chance = f.Double
			case chttptest.Refuse:
				chance = f.Refuse
			}
			near(k.String(), counts.Faults[k], chance)
		}
		near("silence", counts.Silent, (f.LoseAnswer+f.LoseRequest)/2)
		// Half of the delays are of answers, which not all requests have.
		near("a delay", counts.Delayed, f.Delay*((1-f.Refuse)+(1-f.Refuse-f.LoseRequest-f.Cut/2))/2)
		if counts.Requests != requests {
			t.Errorf("counted %d requests, want %d", counts.Requests, requests)
		}
	})
}

func TestDrawKeepsToItsLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	f := chttptest.Faults{Double: 1, Delay: 1, MaxDelay: time.Second, MaxAgain: time.Hour}
	together, longest := 0, time.Duration(0)
	for range 1000 {
		d := f.Draw(r)
		delay := max(d.Delay, d.AnswerDelay)
		if min(d.Delay, d.AnswerDelay) != 0 || delay <= 0 || delay > time.Second || d.Again < 0 || d.Again > time.Hour {
			t.Fatalf("drew %v", d)
		}
		if d.Again == 0 {
			together++
		}
		longest = max(longest, d.Again)
	}
	if together < 400 || together > 600 || longest < 50*time.Minute {
		t.Errorf("%d of 1000 second copies came with the first; the latest after %v", together, longest)
	}
	if got := (chttptest.Faults{}).Draw(r); got != (chttptest.Fault{}) {
		t.Errorf("drew %v from nothing", got)
	}
	f = chttptest.Faults{Double: 1, Delay: 1}
	for range 1000 {
		if d := f.Draw(r); d.Delay > 5*time.Second || d.AnswerDelay > 5*time.Second || d.Again > time.Minute {
			t.Fatalf("drew %v with the defaults", d)
		}
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	for want, f := range map[string]chttptest.Faults{
		"Faults.Refuse is -0.1":        {Refuse: -0.1},
		"Faults.Delay is 1.5":          {Delay: 1.5},
		"Faults.Silent is NaN":         {Silent: math.NaN()},
		"sum up to 1.1":                {LoseAnswer: 0.6, Cut: 0.5},
		"Faults.MaxDelay is negative":  {MaxDelay: -1},
		"Faults.MaxAgain is negative":  {MaxAgain: -1},
		"Faults.LoseRequest is +Inf":   {LoseRequest: math.Inf(1)},
		"Faults.BadGateway is -1":      {BadGateway: -1},
		"Faults.Double is 2":           {Double: 2},
		"Faults.LoseAnswer is 1.0001;": {LoseAnswer: 1.0001},
	} {
		panics(t, want, func() { chttptest.NewNetwork(&chttptest.NetworkOptions{Faults: f}) })
	}
	n := chttptest.NewNetwork(nil)
	defer n.Close()
	panics(t, "nil handler", func() { n.Handle(bank, nil) })
	n.SetFaults(chttptest.EveryFault(1.0 / 8))
	panics(t, "sum up to", func() { n.SetFaults(chttptest.EveryFault(0.126)) })
	for want, f := range map[string]chttptest.Fault{
		"FaultKind(99) is no kind": {Kind: 99},
		"FaultKind(-1) is no kind": {Kind: -1},
		"time of the fault":        {Delay: -1},
	} {
		n.Script(always(f))
		panics(t, want, func() { n.Client("").Get(charge) })
	}
}

// panics fails unless f panics with a text that holds want.
func panics(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
			t.Errorf("got the panic %q, want %q", got, want)
		}
	}()
	f()
}
