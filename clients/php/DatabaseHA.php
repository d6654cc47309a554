<?php

/**
 * PostgreSQL behind pgswarm for PHP, with PDO: connections and transactions that outlive a failover.
 *
 *     require 'DatabaseHA.php';
 *     $database = DatabaseHA::fromEnvironment();          // DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASS or DB_PASS_FILE
 *     $id = $database->run(function (PDO $pdo) {          // a transaction; done again where that is safe
 *         $pdo->exec("INSERT …");
 *         return $pdo->lastInsertId();
 *     });
 *     $pdo = $database->getConnection();                  // a connection that has just answered; nothing is repeated
 *     $pdo = getDbConnection();                           // the same, of the one database of this process
 *
 * The rules are those of `pgswarm.client` for Python, and why they are sound stands in operator/decisions/0026: what fails
 * before COMMIT was sent has committed nothing and is done again from its beginning, on a new connection if need be;
 * after it only an ERROR of the server is a no. Everything else ends in OutcomeUnknown, unless the caller says that the
 * function may be done twice (`idempotent`), or gives a way to look (`landed`).
 *
 * One file, no dependency but pdo_pgsql; PHP 8.1 and later.
 */

declare(strict_types=1);

/** The deadline has passed and nothing was committed: to try again later is safe. */
class Unavailable extends RuntimeException
{
}

/** COMMIT was sent and its answer never came: the transaction is whole or not there at all, and nobody here can know. */
class OutcomeUnknown extends RuntimeException
{
}

class DatabaseHA
{
    /** serialization_failure, deadlock_detected: the same session may try at once. */
    private const COLLISIONS = ['40001', '40P01'];

    /** admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout, too_many_connections, read-only. */
    private const ELSEWHERE = ['57P01', '57P02', '57P03', '57P05', '53300', '25006'];

    /** In the words of a refused connection: what no other attempt will change. */
    private const PERMANENT = '/password authentication failed|no password supplied|no pg_hba\.conf entry|does not exist'
        . '|permission denied for database|is not permitted to log in|invalid connection option|could not find driver/';

    /** Makes a transaction write a little log, so that its COMMIT waits for the standbys and for every commit before it. */
    private const DURABLE = "SELECT pg_logical_emit_message(true, 'pgswarm.client', '')";

    private const CONNECT_TIMEOUT = 2; // seconds for each address in turn; libpq knows no less
    private const FIRST_PAUSE = 0.05;  // seconds; each further one is twice as long …
    private const LONGEST_PAUSE = 1.0; // … up to this

    private const FINAL = 'nothing was committed, and to do it again changes nothing';
    private const AGAIN = 'nothing was committed; again on the same connection';
    private const ANEW = 'nothing was committed; again on a new connection';
    private const UNKNOWN = 'it may be committed';

    private static ?DatabaseHA $ofThisProcess = null;

    private ?PDO $pdo = null;

    /**
     * @param string $dsn as PDO's, `pgsql:host=a,b;port=5432,5432;dbname=…`
     * @param string|null $passwordFile read for each connection, because a secret may be exchanged
     * @param float $deadline seconds for all attempts of one call, unless it says otherwise
     */
    public function __construct(
        private string $dsn,
        private string $user,
        private ?string $password = null,
        private ?string $passwordFile = null,
        private float $deadline = 30.0,
    ) {
        if ($password !== null && $passwordFile !== null) {
            throw new InvalidArgumentException('the password is given twice, as itself and as a file: take one away');
        }
    }

    /**
     * By DB_HOST (several with commas), DB_PORT (one, or one for each), DB_NAME, DB_USER, DB_PASS or DB_PASS_FILE.
     *
     * @throws InvalidArgumentException naming the variable
     */
    public static function fromEnvironment(string $prefix = 'DB_', float $deadline = 30.0): self
    {
        $given = static function (string $name, ?string $else = null) use ($prefix): ?string {
            $value = getenv($prefix . $name);
            return $value === false || $value === '' ? $else : $value;
        };
        foreach (['NAME', 'USER'] as $name) {
            if ($given($name) === null) {
                throw new InvalidArgumentException("{$prefix}{$name} is not set");
            }
        }
        $hosts = array_map('trim', explode(',', $given('HOST', 'postgres-ha')));
        $ports = array_map('trim', explode(',', $given('PORT', '5432')));
        if (count($ports) === 1) {
            $ports = array_fill(0, count($hosts), $ports[0]);
        }
        if (count($ports) !== count($hosts) || array_filter($ports, fn ($port) => !ctype_digit($port))) {
            throw new InvalidArgumentException("{$prefix}PORT must be a number, or one for each host with commas");
        }
        if (preg_match('/[;\'\\\\ ]/', $given('NAME') . implode('', $hosts))) {
            throw new InvalidArgumentException("{$prefix}HOST and {$prefix}NAME may not contain ; \\ ' or spaces");
        }
        $order = range(0, count($hosts) - 1);
        shuffle($order); // clients spread over the routers
        $dsn = sprintf(
            'pgsql:host=%s;port=%s;dbname=%s',
            implode(',', array_map(fn ($at) => $hosts[$at], $order)),
            implode(',', array_map(fn ($at) => $ports[$at], $order)),
            $given('NAME'),
        );
        return new self($dsn, $given('USER'), $given('PASS'), $given('PASS_FILE'), $deadline);
    }

    /** A connection of the one database of this process, made from the environment at the first call. */
    public static function getDbConnection(): PDO
    {
        return (self::$ofThisProcess ??= self::fromEnvironment())->getConnection();
    }

    /**
     * A connection to a server that can be written to, and that has just answered. Inside a transaction it is the one
     * that the transaction is on, whatever became of it. From here on every failure is the caller's.
     *
     * @throws Unavailable if there is none within the deadline (seconds)
     * @throws PDOException if it is refused for good, as with a wrong password
     */
    public function getConnection(?float $deadline = null): PDO
    {
        $began = microtime(true);
        try {
            if ($this->pdo !== null && !$this->pdo->inTransaction()) {
                $this->pdo->query('SELECT 1')->closeCursor();
            }
        } catch (PDOException) {
            $this->pdo = null;
        }
        return $this->connected($began, $began + ($deadline ?? $this->deadline), false);
    }

    /** Forget the connection; the next call makes another. */
    public function disconnect(): void
    {
        $this->pdo = null;
    }

    /**
     * Call `$function` with a connection in a transaction, and commit it. What it returned.
     *
     * It may be called several times, so it should do nothing but talk with that connection, and leave ending the
     * transaction to `run`.
     *
     * @param callable(PDO): mixed $function
     * @param bool $idempotent it may be done again though it may have been committed, because twice is as good as once
     * @param (callable(PDO): bool)|null $landed asked on another connection, once the attempt in doubt has ended there,
     *        whether it was committed
     * @param bool $readOnly the server shall refuse to write; then every attempt may be repeated
     * @param float|null $deadline seconds for everything. PHP cannot leave a call that waits: it bounds each statement by
     *        statement_timeout, and a COMMIT that waits for a standby only by what ends it at the server.
     * @throws Unavailable nothing was committed in time
     * @throws OutcomeUnknown nobody can know; with `idempotent`, `landed` or `readOnly` only if it was not settled in time
     * @throws Throwable unchanged, whatever another attempt would not change
     */
    public function run(
        callable $function,
        bool $idempotent = false,
        ?callable $landed = null,
        bool $readOnly = false,
        ?float $deadline = null,
    ): mixed {
        $began = microtime(true);
        $until = $began + ($deadline ?? $this->deadline);
        return $this->attempts($function, $idempotent, $landed, $readOnly, $began, $until, '');
    }

    private function attempts(
        callable $function,
        bool $idempotent,
        ?callable $landed,
        bool $readOnly,
        float $began,
        float $until,
        string $isolation,
    ): mixed {
        $failures = 0;
        $unknown = false; // is there an attempt of which nobody knows whether it was committed?
        while (true) {
            [$connecting, $committing] = [true, false];
            $result = null;
            $key = random_int(0, PHP_INT_MAX);
            try {
                $pdo = $this->connected($began, $until, $unknown);
                $connecting = false;
                $this->begin($pdo, $isolation . ($readOnly ? ' READ ONLY' : ''), $until);
                if ($landed !== null) {
                    $pdo->exec("SELECT pg_advisory_xact_lock($key)");
                }
                if ($unknown && !$readOnly) {
                    $pdo->exec(self::DURABLE);
                }
                $result = $function($pdo);
                // The server's state cannot be seen from here, so it is asked: a transaction that has failed would roll back
                // at COMMIT and look like success, and a session that has died is found before its outcome is in doubt.
                $pdo->query('SELECT 1')->closeCursor();
                if (!$pdo->inTransaction()) {
                    throw new LogicException('the function has ended its transaction itself; let run commit it');
                }
                $committing = true;
                $pdo->exec('COMMIT');
                return $result;
            } catch (Throwable $error) {
                $failures++;
                // Whoever connects tries again by himself: what he says is the last word.
                $verdict = $connecting ? self::FINAL : $this->judge($error, $committing, $readOnly);
                $this->leave($verdict);
                $unknown = $unknown || $verdict === self::UNKNOWN;
                $pause = $this->pause($failures);
                if ($verdict === self::FINAL && !$this->isTimeUp($error, $until)) {
                    if (!$unknown || !$error instanceof PDOException) {
                        throw $error;
                    }
                    $this->giveUp($error, $unknown, $failures, $began);
                }
                if (
                    ($verdict === self::UNKNOWN && !$idempotent && $landed === null)
                    || $verdict === self::FINAL
                    || microtime(true) + $pause >= $until
                ) {
                    $this->giveUp($error, $unknown, $failures, $began);
                }
                usleep((int) (1e6 * $pause));
            }
            if ($verdict === self::UNKNOWN && $landed !== null) {
                if ($this->hasLanded($landed, $key, $began, $until)) {
                    return $result;
                }
                $unknown = false;
            }
        }
    }

    /** One round trip. A statement_timeout that somebody has set stays; else none may outlive the deadline. */
    private function begin(PDO $pdo, string $mode, float $until): void
    {
        $left = max(1, (int) (1000 * ($until - microtime(true))));
        $pdo->exec("BEGIN$mode; SELECT CASE WHEN current_setting('statement_timeout') = '0'"
            . " THEN set_config('statement_timeout', '$left', true) END");
    }

    /** Was it committed? Whoever holds the lock still works on it; what is seen is confirmed by a commit. */
    private function hasLanded(callable $landed, int $key, float $began, float $until): bool
    {
        $look = static function (PDO $pdo) use ($landed, $key): bool {
            $pdo->exec("SELECT pg_advisory_xact_lock($key)");
            $there = (bool) $landed($pdo);
            $pdo->exec(self::DURABLE);
            return $there;
        };
        try {
            return $this->attempts($look, true, null, false, $began, $until, ' ISOLATION LEVEL READ COMMITTED');
        } catch (Throwable $error) {
            // Also the caller's own: whatever ends the look, the outcome stays unknown.
            throw new OutcomeUnknown('it may have been committed: ' . $error->getMessage(), 0, $error);
        }
    }

    /** What an error means for the transaction. */
    private function judge(Throwable $error, bool $committing, bool $readOnly): string
    {
        if (!$error instanceof PDOException) {
            return self::FINAL;
        }
        $code = (string) ($error->errorInfo[0] ?? $error->getCode());
        // A lost connection has no SQLSTATE of the server; PDO writes HY000 or one of class 08.
        $lost = $code === 'HY000' || str_starts_with($code, '08');
        // These end the session (FATAL), and prove nothing after COMMIT: a session that waits for its standbys is terminated
        // with the same words when its commit is on the primary's own disk.
        $ended = $lost || str_starts_with($code, '57P') || str_starts_with($code, 'XX')
            || in_array($code, ['25P03', '25P04'], true);
        if ($committing && $ended) {
            return $readOnly ? self::ANEW : self::UNKNOWN;
        }
        if (in_array($code, self::COLLISIONS, true)) {
            return self::AGAIN;
        }
        $elsewhere = $lost || in_array($code, self::ELSEWHERE, true);
        return $elsewhere && !($readOnly && $code === '25006') ? self::ANEW : self::FINAL;
    }

    /** End what an attempt has left behind: its transaction, and its connection if that is not to be used again. */
    private function leave(string $verdict): void
    {
        try {
            if ($verdict === self::FINAL || $verdict === self::AGAIN) {
                if ($this->pdo?->inTransaction()) {
                    $this->pdo->exec('ROLLBACK');
                }
                return;
            }
        } catch (PDOException) {
            // then the connection is gone, and the transaction with it
        }
        $this->pdo = null;
    }

    /** The connection, or a new one. Whether it still stands shows at the first word. */
    private function connected(float $began, float $until, bool $unknown): PDO
    {
        if ($this->pdo !== null) {
            return $this->pdo;
        }
        for ($failures = 1; ; $failures++) {
            try {
                return $this->pdo = $this->connect();
            } catch (PDOException $error) {
                if (preg_match(self::PERMANENT, $error->getMessage())) {
                    throw $error;
                }
                $pause = $this->pause($failures);
                if (microtime(true) + $pause >= $until) {
                    $this->giveUp($error, $unknown, $failures, $began);
                }
                usleep((int) (1e6 * $pause));
            }
        }
    }

    private function connect(): PDO
    {
        $password = $this->password;
        if ($this->passwordFile !== null) {
            $read = @file_get_contents($this->passwordFile);
            if ($read === false) {
                throw new InvalidArgumentException("the file of the password, {$this->passwordFile}, cannot be read");
            }
            $password = rtrim($read, "\r\n");
        }
        // A host that accepts and says nothing is left after two seconds; a session whose words are not acknowledged,
        // or that only waits for an answer from a machine that is gone, ends within three and five.
        $dsn = $this->dsn . ';target_session_attrs=read-write;tcp_user_timeout=3000'
            . ';keepalives_idle=2;keepalives_interval=1;keepalives_count=3';
        return new PDO($dsn, $this->user, $password, [
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
            PDO::ATTR_TIMEOUT => self::CONNECT_TIMEOUT,
            PDO::ATTR_PERSISTENT => false, // a connection that is kept between requests may lead to a server that is gone
        ]);
    }

    /** After that many failures in a row; between half and all of it, so that clients come back one by one. */
    private function pause(int $failures): float
    {
        $pause = min(self::LONGEST_PAUSE, self::FIRST_PAUSE * 2 ** min($failures - 1, 20));
        return $pause * (0.5 + mt_rand() / mt_getrandmax() / 2);
    }

    /** Was a statement ended because the deadline has passed? */
    private function isTimeUp(Throwable $error, float $until): bool
    {
        $code = $error instanceof PDOException ? (string) ($error->errorInfo[0] ?? '') : '';
        return $code === '57014' && microtime(true) >= $until;
    }

    private function giveUp(Throwable $error, bool $unknown, int $failures, float $began): never
    {
        if ($error instanceof Unavailable) {
            throw $error;
        }
        $told = sprintf(
            'after %.1f s and %d attempt%s: %s',
            microtime(true) - $began,
            $failures,
            $failures === 1 ? '' : 's',
            trim(preg_replace('/\s+/', ' ', $error->getMessage())),
        );
        if ($unknown) {
            throw new OutcomeUnknown("it may have been committed, $told", 0, $error);
        }
        throw new Unavailable("nothing was committed, $told", 0, $error);
    }
}

if (!function_exists('getDbConnection')) {
    /** For code that knows a function of this name; see DatabaseHA::getDbConnection. */
    function getDbConnection(): PDO
    {
        return DatabaseHA::getDbConnection();
    }
}
