package crash_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/crash"
)

// anybody puts all callers in one scope.
var anybody = &chttp.HandlerOptions{Principal: func(*http.Request) (string, error) { return "anybody", nil }}

// number is one that Life.Fresh gave.
var number = regexp.MustCompile(`#\d+`)

// once says what is wrong unless the process finished work of the function exactly once for each of the values, and nothing else.
func once(p *crash.Process, function string, values ...string) (bad []string) {
	var got []string
	for _, o := range p.Outcomes(function) {
		got = append(got, number.ReplaceAllString(o.State+" "+o.Value+o.Err, "#"))
	}
	slices.Sort(got)
	slices.Sort(values)
	if !slices.Equal(got, values) {
		bad = append(bad, fmt.Sprintf("I2: outcomes of %s: got %q, want %q", function, got, values))
	}
	return bad
}

// agree says what is wrong unless every number that the outcome of a's function speaks of is known to that of b.
func agree(a *crash.Process, function string, b *crash.Process, other string) (bad []string) {
	known := ""
	for _, o := range b.Outcomes(other) {
		known += o.Value + "\n"
	}
	for _, o := range a.Outcomes(function) {
		for _, n := range number.FindAllString(o.Value, -1) {
			if !regexp.MustCompile(n + `\b`).MatchString(known) {
				bad = append(bad, fmt.Sprintf("I7: %s speaks of %s, and %s knows only %s", function, n, other, known))
			}
		}
	}
	return bad
}

// program is a process that only does something by itself.
func program(main func(ctx context.Context, l *crash.Life) error) crash.Program {
	return func(l *crash.Life) (http.Handler, func(context.Context) error) {
		return nil, func(ctx context.Context) error { return main(ctx, l) }
	}
}

// order is a process that has one execution of fn.
func order(fn func(ctx context.Context, l *crash.Life) (string, error)) crash.Program {
	return func(l *crash.Life) (http.Handler, func(context.Context) error) {
		f := chttp.Resumable("order", func(ctx context.Context, in string) (string, error) { return fn(ctx, l) })
		l.Node.Register(f)
		return nil, func(ctx context.Context) error {
			_, err := f.Start(ctx, l.Node, "order-1", "please")
			return err
		}
	}
}

// post posts text and returns the answer's.
func post(ctx context.Context, url, text string) (string, error) {
	ctx = chttp.With(ctx, chttp.Policy{Name: "POST " + url}) // with the query
	resp, err := chttp.Post(ctx, url, "text/plain", strings.NewReader(text))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), nil
}

// nonce is a number that differs from run to run, unless it is recorded.
func nonce(ctx context.Context, l *crash.Life) string {
	return fmt.Sprintf("#%d", chttp.Persist(ctx, "nonce", l.Fresh))
}

// echo is a server that answers with what it got.
func echo(l *crash.Life) (http.Handler, func(context.Context) error) {
	return l.Node.Handler("echo", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s(%s)", r.URL.Path[1:], b)
	}), anybody), nil
}

// numbering is a server whose answers differ from run to run, unless they are recorded.
func numbering(l *crash.Life) (http.Handler, func(context.Context) error) {
	return l.Node.Handler("echo", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s%s(%s)#%d", r.URL.Path[1:], r.URL.Query().Get("of"), b, l.Fresh())
	}), anybody), nil
}

func TestI1I2APutArrivesOnceWhereverAnyProcessDies(t *testing.T) {
	t.Parallel()
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", echo)
			client = w.Start("client", program(func(ctx context.Context, l *crash.Life) error {
				ctx = chttp.With(ctx, chttp.Policy{ID: "put-1"})
				_, err := l.Node.Put(ctx, "http://server/thing", "text/plain", strings.NewReader("hello"))
				return err
			}))
		},
		check: func(w *crash.World) []string {
			return append(once(server, "echo", "answered "), once(client, "chttp.send", "answered ")...)
		},
		least: 38,
	})
}

func TestI1APutBeforeRunArrivesOnceWhereverAnyProcessDies(t *testing.T) {
	t.Parallel()
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", echo)
			client = w.Start("client", func(l *crash.Life) (http.Handler, func(context.Context) error) {
				ctx := chttp.With(context.Background(), chttp.Policy{ID: "put-1"})
				_, err := l.Node.Put(ctx, "http://server/thing", "text/plain", strings.NewReader("hello"))
				return nil, func(ctx context.Context) error { return err }
			})
		},
		check: func(w *crash.World) []string {
			return append(once(server, "echo", "answered "), once(client, "chttp.send", "answered ")...)
		},
		least: 38,
	})
}

func TestI1I5APutThatWasStoredArrivesOnceAndOneThatWasNotDoesNot(t *testing.T) {
	t.Parallel()
	var server, client *crash.Process
	var tried, stored bool
	explore(t, &scenario{
		start: func(w *crash.World) {
			tried, stored = false, false
			server = w.Start("server", echo)
			client = w.Start("client", program(func(ctx context.Context, l *crash.Life) error {
				if tried {
					return nil
				}
				tried = true
				_, err := l.Node.Put(ctx, "http://server/thing", "text/plain", strings.NewReader("hello"))
				stored = err == nil
				return err
			}))
		},
		check: func(w *crash.World) []string {
			if !stored && len(client.Outcomes("chttp.send")) == 0 {
				return once(server, "echo")
			}
			return append(once(server, "echo", "answered "), once(client, "chttp.send", "answered ")...)
		},
		least: 38,
	})
}

func TestI2I7ACallInAFunctionHasItsEffectOnceWhereverAnyProcessDies(t *testing.T) {
	t.Parallel()
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", numbering)
			client = w.Start("client", order(func(ctx context.Context, l *crash.Life) (string, error) {
				return post(ctx, "http://server/pay", nonce(ctx, l))
			}))
		},
		check: func(w *crash.World) []string {
			bad := append(once(server, "echo", "answered pay(#)#"), once(client, "order", `answered "pay(#)#"`)...)
			return append(bad, agree(client, "order", server, "echo")...)
		},
		least: 38,
	})
}

func TestI2I7AChainOfThreeCallsHasItsEffectsOnceWhereverAnyProcessDies(t *testing.T) {
	t.Parallel()
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", numbering)
			client = w.Start("client", order(func(ctx context.Context, l *crash.Life) (string, error) {
				got := nonce(ctx, l)
				for _, step := range []string{"reserve", "pay", "ship"} {
					var err error
					if got, err = post(ctx, "http://server/"+step, got); err != nil {
						return "", err
					}
				}
				return got, nil
			}))
		},
		check: func(w *crash.World) []string {
			bad := append(once(server, "echo", "answered reserve(#)#", "answered pay(reserve(#)#)#", "answered ship(pay(reserve(#)#)#)#"),
				once(client, "order", `answered "ship(pay(reserve(#)#)#)#"`)...)
			return append(bad, agree(client, "order", server, "echo")...)
		},
		least: 56,
	})
}

func TestI2I3AHandlerThatCallsOnHasItsEffectOnceWhereverAnyProcessDies(t *testing.T) {
	t.Parallel()
	var bank, shop, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			bank = w.Start("bank", numbering)
			shop = w.Start("shop", func(l *crash.Life) (http.Handler, func(context.Context) error) {
				return l.Node.Handler("shop", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					got, err := post(r.Context(), "http://bank/pay", string(b)+nonce(r.Context(), l))
					if err != nil {
						http.Error(w, err.Error(), http.StatusInternalServerError)
						return
					}
					fmt.Fprintf(w, "bought(%s)#%d", got, l.Fresh())
				}), anybody), nil
			})
			client = w.Start("client", order(func(ctx context.Context, l *crash.Life) (string, error) {
				return post(ctx, "http://shop/buy", nonce(ctx, l))
			}))
		},
		check: func(w *crash.World) []string {
			bad := append(once(bank, "echo", "answered pay(##)#"), once(shop, "shop", "answered bought(pay(##)#)#")...)
			bad = append(bad, once(client, "order", `answered "bought(pay(##)#)#"`)...)
			bad = append(bad, agree(client, "order", shop, "shop")...)
			return append(bad, agree(shop, "shop", client, "order")...)
		},
		least: 64,
	})
}

func TestS5ASlowHandlerIsFinishedOnceWhereverAnyProcessDies(t *testing.T) {
	t.Parallel()
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", func(l *crash.Life) (http.Handler, func(context.Context) error) {
				return l.Node.Handler("slow", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					n := nonce(r.Context(), l)
					if err := chttp.Sleep(r.Context(), 25*time.Second); err != nil {
						panic(err)
					}
					fmt.Fprintf(w, "slept %s", n)
				}), anybody), nil
			})
			client = w.Start("client", order(func(ctx context.Context, l *crash.Life) (string, error) {
				return post(ctx, "http://server/sleep", "well")
			}))
		},
		check: func(w *crash.World) []string {
			bad := append(once(server, "slow", "answered slept #"), once(client, "order", `answered "slept #"`)...)
			return append(bad, agree(client, "order", server, "slow")...)
		},
		least: 44,
	})
}

func TestI2I5AStepHasItsEffectAgainOnlyWhenADeathHidItsResult(t *testing.T) {
	t.Parallel()
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", numbering)
			client = w.Start("client", order(func(ctx context.Context, l *crash.Life) (string, error) {
				n := nonce(ctx, l)
				charged, err := chttp.Do(ctx, "charge", func(context.Context) (string, error) {
					l.Effect("charge " + n)
					return fmt.Sprintf("charged %s #%d", n, l.Fresh()), nil
				})
				if err != nil {
					return "", err
				}
				return post(ctx, "http://server/confirm", charged)
			}))
		},
		check: func(w *crash.World) []string {
			bad := append(once(server, "echo", "answered confirm(charged # #)#"), once(client, "order", `answered "confirm(charged # #)#"`)...)
			bad = append(bad, agree(client, "order", server, "echo")...)
			first, confirmed := "", false
			died := true
			for _, e := range w.Events() {
				switch {
				case strings.HasPrefix(e, "effect charge"):
					if !died || confirmed {
						bad = append(bad, "I2: the step had its effect again without need")
					}
					if first != "" && first != e {
						bad = append(bad, "I5: the step's second run was given another number: "+first+", "+e)
					}
					first, died = e, false
				case e == "death of client":
					died = true
				case e == "request POST http://server/confirm":
					confirmed = true
				}
			}
			if first == "" {
				bad = append(bad, "I1: the step had no effect")
			}
			return bad
		},
		least: 38,
	})
}

func TestI2I7SeveralCallsAfterSeveralValuesHaveTheirEffectsOnce(t *testing.T) {
	t.Parallel()
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", numbering)
			client = w.Start("client", order(func(ctx context.Context, l *crash.Life) (string, error) {
				var all []string
				for _, name := range []string{"a", "b", "c"} {
					all = append(all, fmt.Sprintf("#%d", chttp.Persist(ctx, name, l.Fresh)))
				}
				for i := range all {
					got, err := post(ctx, fmt.Sprintf("http://server/%d", i), strings.Join(all, ","))
					if err != nil {
						return "", err
					}
					all[i] = got
				}
				return fmt.Sprint(len(all)), nil
			}))
		},
		check: func(w *crash.World) []string {
			return append(once(server, "echo", "answered 0(#,#,#)#", "answered 1(0(#,#,#)#,#,#)#", "answered 2(0(#,#,#)#,1(0(#,#,#)#,#,#)#,#)#"),
				once(client, "order", `answered "3"`)...)
		},
		least: 56,
	})
}

func TestI2I7BranchesHaveTheirEffectsOnceWhereverAnyProcessDies(t *testing.T) {
	t.Parallel()
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", numbering)
			client = w.Start("client", order(func(ctx context.Context, l *crash.Life) (string, error) {
				var list []*chttp.Future[string]
				for _, name := range []string{"a", "b", "c"} {
					list = append(list, chttp.Go(ctx, name, func(ctx context.Context) (string, error) {
						got, err := post(ctx, "http://server/pay?of="+name, nonce(ctx, l))
						if err != nil {
							return "", err
						}
						return post(ctx, "http://server/pay?of="+name+name, got)
					}))
				}
				var all []string
				for _, f := range list {
					got, err := f.Wait(ctx)
					if err != nil {
						return "", err
					}
					all = append(all, got)
				}
				return strings.Join(all, " "), nil
			}))
		},
		check: func(w *crash.World) []string {
			bad := append(once(server, "echo", "answered paya(#)#", "answered payb(#)#", "answered payc(#)#",
				"answered payaa(paya(#)#)#", "answered paybb(payb(#)#)#", "answered paycc(payc(#)#)#"),
				once(client, "order", `answered "payaa(paya(#)#)# paybb(payb(#)#)# paycc(payc(#)#)#"`)...)
			return append(bad, agree(client, "order", server, "echo")...)
		},
		least: 70,
	})
}

func TestI1I2MessagesSentInAFunctionArriveOnceWhereverAnyProcessDies(t *testing.T) {
	t.Parallel()
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", echo)
			client = w.Start("client", order(func(ctx context.Context, l *crash.Life) (string, error) {
				n := nonce(ctx, l)
				var reqs []*http.Request
				for _, name := range []string{"a", "b", "c"} {
					req, err := http.NewRequest(http.MethodPost, "http://server/"+name, strings.NewReader(n))
					if err != nil {
						return "", err
					}
					reqs = append(reqs, req)
				}
				ids, err := l.Node.SendAll(ctx, reqs...)
				if err != nil {
					return "", err
				}
				if _, err := l.Node.Put(ctx, "http://server/d", "text/plain", strings.NewReader(n)); err != nil {
					return "", err
				}
				return fmt.Sprint(len(ids)), nil
			}))
		},
		check: func(w *crash.World) []string {
			bad := append(once(server, "echo", "answered ", "answered ", "answered ", "answered "), once(client, "order", `answered "3"`)...)
			return append(bad, once(client, "chttp.send", "answered ", "answered ", "answered ", "answered ")...)
		},
		least: 56,
	})
}

func TestI1I2AChildIsStartedOnceAndWaitedForWhereverAnyProcessDies(t *testing.T) {
	t.Parallel()
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", numbering)
			client = w.Start("client", func(l *crash.Life) (http.Handler, func(context.Context) error) {
				child := chttp.Resumable("child", func(ctx context.Context, in string) (string, error) {
					return post(ctx, "http://server/pay", in+nonce(ctx, l))
				})
				parent := chttp.Resumable("parent", func(ctx context.Context, in string) (string, error) {
					exec, err := child.Start(ctx, l.Node, "", in+nonce(ctx, l))
					if err != nil {
						return "", err
					}
					got, err := exec.Wait(ctx)
					if err != nil {
						return "", err
					}
					return post(ctx, "http://server/tell", got)
				})
				l.Node.Register(child, parent)
				return nil, func(ctx context.Context) error {
					_, err := parent.Start(ctx, l.Node, "parent-1", "please")
					return err
				}
			})
		},
		check: func(w *crash.World) []string {
			bad := append(once(server, "echo", "answered pay(please##)#", "answered tell(pay(please##)#)#"),
				once(client, "child", `answered "pay(please##)#"`)...)
			bad = append(bad, once(client, "parent", `answered "tell(pay(please##)#)#"`)...)
			return append(bad, agree(client, "parent", server, "echo")...)
		},
		least: 38,
	})
}

func TestI8ACanceledExecutionUndoesWhatItDidWhereverAnyProcessDies(t *testing.T) {
	t.Parallel()
	for name, patience := range map[string]time.Duration{"at once": 0, "while it waits": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exploreCancel(t, patience)
		})
	}
}

// exploreCancel cancels an execution when it has had patience.
func exploreCancel(t *testing.T, patience time.Duration) {
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", echo)
			client = w.Start("client", func(l *crash.Life) (http.Handler, func(context.Context) error) {
				f := chttp.Resumable("order", func(ctx context.Context, in string) (string, error) {
					_, err := post(ctx, "http://server/reserve", in)
					if err == nil {
						err = chttp.Sleep(ctx, 20*time.Minute)
					}
					if err == nil {
						return post(ctx, "http://server/confirm", in)
					}
					if !errors.Is(err, chttp.ErrNotDone) {
						if _, err := post(context.WithoutCancel(ctx), "http://server/release", in); err != nil {
							return "", err
						}
					}
					return "", err
				})
				l.Node.Register(f)
				return nil, func(ctx context.Context) error {
					exec, err := f.Start(ctx, l.Node, "order-1", "please")
					if err != nil {
						return err
					}
					time.Sleep(patience)
					if err := exec.Cancel(ctx, "changed my mind"); err != nil {
						return err
					}
					_, err = exec.Wait(ctx)
					if !errors.Is(err, chttp.ErrCanceled) {
						return fmt.Errorf("canceled, and it ended with %w", err)
					}
					return nil
				}
			})
		},
		check: func(w *crash.World) (bad []string) {
			list := client.Outcomes("order")
			if len(list) != 1 || list[0].State != "canceled" {
				bad = append(bad, fmt.Sprintf("the execution ended %v", list))
			}
			var reserved, released int
			for _, o := range server.Outcomes("echo") {
				switch o.Value {
				case "reserve(please)":
					reserved++
				case "release(please)":
					released++
				default:
					bad = append(bad, "the server did "+o.Value)
				}
			}
			if reserved > released || released > 1 {
				bad = append(bad, fmt.Sprintf("reserved %d times, released %d times", reserved, released))
			}
			return bad
		},
		least:   24,
		unheard: patience == 0, // the call is given up
	})
}

// ask sends a request by hand, again and again, until it is answered in one of the states, and returns the answer.
func ask(ctx context.Context, l *crash.Life, method, url, id string, states ...string) (*http.Response, error) {
	begin := time.Now().Truncate(time.Second)
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("please"))
		if err != nil {
			return nil, err
		}
		stamps := fmt.Sprintf("v=1, at=@%d", time.Now().Unix())
		if slices.Contains(states, "running") {
			req.Header.Set("Prefer", "respond-async")
		}
		if id != "" {
			req.Header.Set("Idempotency-Key", `"`+id+`"`)
			// The same for an id, whoever asks: the process may have died since.
			stamps += fmt.Sprintf(", sent=@%d, until=@%d", epoch.Unix(), epoch.Add(crash.Until).Unix())
		}
		req.Header.Set("Certified", stamps)
		resp, err := l.RoundTrip(req)
		if err == nil {
			for _, s := range states {
				if strings.Contains(resp.Header.Get("Certified"), "state="+s) {
					return resp, nil
				}
			}
		}
		if time.Since(begin) > crash.Until/2 {
			return nil, fmt.Errorf("%s %s: not answered %v: %w", method, url, states, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
	return nil, ctx.Err()
}

// epoch is when a bubble begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestI3A2A3AnAcknowledgedOutcomeIsGoneWhereverAnyProcessDies(t *testing.T) {
	t.Parallel()
	var server *crash.Process
	location := regexp.MustCompile(`message="([^"]+)"`)
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", numbering)
			w.Start("client", program(func(ctx context.Context, l *crash.Life) error {
				l.ByHand()
				done, err := ask(ctx, l, http.MethodPost, "http://server/pay", "by-hand-1", "done", "gone")
				if err != nil {
					return err
				}
				if strings.Contains(done.Header.Get("Certified"), "state=gone") {
					return nil // An earlier life has acknowledged it.
				}
				if _, err := ask(ctx, l, http.MethodPost, "http://server/pay", "by-hand-1", "done"); err != nil {
					return err
				}
				message := "http://server" + location.FindStringSubmatch(done.Header.Get("Certified"))[1]
				if _, err := ask(ctx, l, http.MethodGet, message, "", "done", "gone"); err != nil {
					return err
				}
				if _, err := ask(ctx, l, http.MethodDelete, message, "", "gone"); err != nil {
					return err
				}
				if _, err := ask(ctx, l, http.MethodGet, message, "", "gone"); err != nil {
					return err
				}
				_, err = ask(ctx, l, http.MethodPost, "http://server/pay", "by-hand-1", "gone")
				return err
			}))
		},
		check: func(w *crash.World) []string { return once(server, "echo", "answered pay(please)#") },
		least: 36,
	})
}

func TestI1AnAcceptedMessageIsExecutedThoughItsClientNeverComesBack(t *testing.T) {
	t.Parallel()
	var server *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", func(l *crash.Life) (http.Handler, func(context.Context) error) {
				return l.Node.Handler("echo", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					n := nonce(r.Context(), l)
					if err := chttp.Sleep(r.Context(), 2*time.Second); err != nil {
						panic(err)
					}
					fmt.Fprintf(w, "did %s", n)
				}), anybody), nil
			})
			w.Start("client", program(func(ctx context.Context, l *crash.Life) error {
				l.ByHand()
				_, err := ask(ctx, l, http.MethodPost, "http://server/do", "by-hand-1", "running", "done")
				return err
			}))
		},
		check:   func(w *crash.World) []string { return once(server, "echo", "answered did #") },
		least:   24,
		unheard: true,
	})
}
