<?php

// One transaction for test_php.py, told by the environment; what came of it is the one line that is written.
//
//   WISH     JSON: idempotent, landed, readOnly, deadline; or connection: no transaction, only getDbConnection
//   FIRST    SQL that only the first call of the function runs
//   PAUSE    a file: the first call makes it, and goes on when it is gone
//   EACH     SQL that every call runs (an INSERT of 1 by default)
//   WARM     do something harmless before, so that a connection stands
//   HOLD     a file: made after WARM, and waited for until it is gone

declare(strict_types=1);

require dirname(__DIR__, 2) . '/clients/php/DatabaseHA.php';

function waitWhile(string $file): void
{
    touch($file);
    while (file_exists($file)) {
        usleep(10_000);
        clearstatcache();
    }
}

$wish = json_decode(getenv('WISH') ?: '{}', true);
$calls = 0;
$function = static function (PDO $pdo) use (&$calls): int {
    $calls++;
    if ($calls === 1 && getenv('FIRST')) {
        $pdo->exec(getenv('FIRST'));
    }
    $pdo->exec(getenv('EACH') ?: 'INSERT INTO ledger VALUES (1)');
    if ($calls === 1 && getenv('PAUSE')) {
        waitWhile(getenv('PAUSE'));
    }
    return $calls;
};
if ($wish['landed'] ?? false) {
    $wish['landed'] = static fn (PDO $pdo): bool =>
        (bool) $pdo->query('SELECT count(*) FROM ledger WHERE n = 1')->fetchColumn();
} else {
    unset($wish['landed']);
}
$told = [];
try {
    if ($wish['connection'] ?? false) {
        getDbConnection()->query('SELECT 1');
        waitWhile(getenv('HOLD'));
        $told['result'] = (int) getDbConnection()->query('SELECT 7')->fetchColumn();
    } else {
        $database = DatabaseHA::fromEnvironment();
        if (getenv('WARM')) {
            $database->run(static fn (PDO $pdo) => $pdo->exec('SELECT 1'));
        }
        if (getenv('HOLD')) {
            waitWhile(getenv('HOLD'));
        }
        $told['result'] = $database->run($function, ...$wish);
    }
} catch (Throwable $error) {
    $told['error'] = get_class($error);
    $told['text'] = $error->getMessage();
    $told['code'] = $error instanceof PDOException ? ($error->errorInfo[0] ?? '') : '';
}
$told['calls'] = $calls;
echo json_encode($told), "\n";
